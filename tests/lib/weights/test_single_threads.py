import threading
import time

import pytest
import torch

from stages.lib.weights.single_threads import each_by_one_thread


@pytest.fixture(autouse=True)
def two_cores() -> None:
    torch.set_num_threads(2)


def test_pieces_run_beside_each_other_by_one_thread_each_and_come_in_order() -> None:
    both = threading.Barrier(2)

    def piece(number: int) -> tuple[int, int]:
        both.wait(timeout=30)
        time.sleep(0.05 * (1 - number % 2))  # the first one ends last
        return number, torch.get_num_threads()

    assert list(each_by_one_thread(piece, range(4))) == [(number, 1) for number in range(4)]
    assert torch.get_num_threads() == 2


def test_one_piece_may_take_both() -> None:
    assert list(each_by_one_thread(lambda _: torch.get_num_threads(), [0], threads=2)) == [2]


def test_who_stops_early_waits_for_no_more_than_what_looks_at_stop() -> None:
    stop = threading.Event()

    def piece(number: int) -> int:
        if number:
            assert stop.wait(timeout=30)
        return number

    results = each_by_one_thread(piece, range(100), stop=stop)
    assert next(results) == 0
    results.close()
    assert stop.is_set() and torch.get_num_threads() == 2


def test_an_error_of_a_piece_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        list(each_by_one_thread(lambda number: 1 / number, [1, 0, 2]))
    assert torch.get_num_threads() == 2
