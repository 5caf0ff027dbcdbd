"""What a worker does with a piece, record by record where the piece as a whole fails.

A piece is a list of records that are computed together. `Compute` turns it into as many results; a worker makes its
`Compute` once, with the model that it loads, by an `Opener`, which travels to it pickled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

Compute = Callable[[Sequence[T]], Sequence[R]]
Opener = Callable[[], Compute[T, R]]


@dataclass(frozen=True)
class Failed:
    """In the place of a record's result: why there is none."""

    error: str


@dataclass(frozen=True)
class Done(Generic[R]):
    """The results of some of the records, by their places in the list of all."""

    places: tuple[int, ...]
    results: tuple[R | Failed, ...]


def compute_each(compute: Compute[T, R], records: Sequence[T]) -> list[R | Failed]:
    """The results of a piece. Where it fails, each record is tried alone, and only those that fail are lost.

    What is computed alone may differ from what it is beside others in its last bits.
    """
    try:
        return list(compute(records))
    except Exception as error:  # whatever it is: it may be one record's, and the others' results are kept
        if len(records) == 1:
            return [Failed(f"{type(error).__name__}: {error}")]
    return [found for record in records for found in compute_each(compute, [record])]


class Worker:
    """What Ray keeps in a process of its own: a model, loaded once, and the pieces that come by."""

    def __init__(self, opener: Opener[Any, Any]) -> None:
        self._compute = opener()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """`places` and `records` of a piece -> `places` and `results`, pickled: Arrow has no columns for them."""
        import pickle  # between our own processes alone

        records = pickle.loads(row["records"])
        results = compute_each(self._compute, records)
        return {"places": row["places"], "results": pickle.dumps(results)}
