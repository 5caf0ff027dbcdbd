"""A piece whose records fail, without Ray."""

import pickle
from collections.abc import Sequence

from stages.lib.spread.pieces import Failed, Worker, compute_each


def halves(records: Sequence[int]) -> list[float]:
    return [1 / record for record in records]


def open_halves() -> object:
    return halves


def test_a_piece_is_computed_whole() -> None:
    calls: list[list[int]] = []

    def doubled(records: Sequence[int]) -> list[int]:
        calls.append(list(records))
        return [2 * record for record in records]

    assert compute_each(doubled, [1, 2, 3]) == [2, 4, 6]
    assert calls == [[1, 2, 3]]


def test_one_record_that_fails_costs_no_other() -> None:
    assert compute_each(halves, [1, 0, 2]) == [1.0, Failed("ZeroDivisionError: division by zero"), 0.5]
    assert compute_each(halves, [0]) == [Failed("ZeroDivisionError: division by zero")]


def test_a_worker_gives_back_the_places_that_it_was_given() -> None:
    worker = Worker(open_halves)  # type: ignore[arg-type]
    row = worker({"places": [7, 9], "records": pickle.dumps([2, 0])})
    assert row["places"] == [7, 9]
    assert pickle.loads(row["results"])[0] == 0.5
