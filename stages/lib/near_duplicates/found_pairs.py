"""What near_pairs found by one embedding model, as dedup reads it: pairs and the chunks' vectors.

Of chunks with the same words one was searched for all (`lib.wording.form.same_words`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.core.records import read_jsonl, write_array, write_jsonl

DIRECTORY = Path("data/near_pairs")
ChunkPair = tuple[int, int]  # positions of two chunks, the smaller first


@dataclass(frozen=True, kw_only=True)
class FoundPairs:
    """The near pairs of one embedding model, N chunks with words of their own and H dimensions."""

    cosines: dict[ChunkPair, float]  # of the pairs listed, in order
    vectors: np.ndarray  # (N, H) float32


def check_search(thresholds: Mapping[str, float], neighbours: int) -> None:
    """Raises `ValueError` where a cosine, by name, or the number of neighbours is out of range."""
    for name, cosine in thresholds.items():
        if not 0.1 <= cosine <= 1:
            raise ValueError(f"{name}: {cosine} is not a cosine in 0.1..1")
    if neighbours < 1:
        raise ValueError(f"neighbours: {neighbours} must be >= 1")


def write_found(model: str, found: FoundPairs, ids: Sequence[str]) -> None:
    """Writes {model}.jsonl and {model}_vectors.npy; `ids` of the chunks, in order.

    Cosines are written to their last bit.
    """
    write_array(DIRECTORY / f"{model}_vectors.npy", found.vectors)
    write_jsonl(
        DIRECTORY / f"{model}.jsonl",
        ({"a": ids[a], "b": ids[b], "cosine": cosine} for (a, b), cosine in found.cosines.items()),
    )


def read_found(model: str, ids: Sequence[str]) -> FoundPairs:
    """Reads what `write_found` wrote; the vectors are mapped, not loaded.

    Raises:
        ValueError: a file is absent or broken, or of other chunks than `ids`, those with words of their own.
    """
    again = f"run again: python -m stages.near_pairs {model}"
    file = DIRECTORY / f"{model}.jsonl"
    place = {chunk: position for position, chunk in enumerate(ids)}
    records = read_jsonl(file, required=["a", "b", "cosine"])
    strange = [chunk for record in records for chunk in (record["a"], record["b"]) if chunk not in place]
    if strange:
        raise ValueError(f"{file}: the chunk {strange[0]!r} is none of those to compare; {again}")
    pairs = [(place[record["a"]], place[record["b"]]) for record in records]
    array = DIRECTORY / f"{model}_vectors.npy"
    try:
        vectors = np.load(array, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{array}: not an .npy file: {error}; {again}") from error
    if vectors.ndim != 2 or len(vectors) != len(ids):
        raise ValueError(f"{array}: shape {vectors.shape}, expected ({len(ids)}, H); {again}")
    return FoundPairs(
        cosines={pair: record["cosine"] for pair, record in zip(pairs, records, strict=True)},
        vectors=vectors,
    )
