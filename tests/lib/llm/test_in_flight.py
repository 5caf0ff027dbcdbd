import threading
import time

import pytest

from stages.lib.llm.in_flight import answers_in_flight


def test_all_are_answered_with_at_most_so_many_at_a_time() -> None:
    lock, busy = threading.Lock(), [0, 0]  # now, most

    def ask(i: int) -> int:
        with lock:
            busy[0] += 1
            busy[1] = max(busy)
        time.sleep(0.01)
        with lock:
            busy[0] -= 1
        return i * i

    found = dict(pair for part in answers_in_flight(ask, range(5, 25), 4) for pair in part)
    assert found == {i: i * i for i in range(5, 25)}
    assert busy[1] == 4


def test_a_failure_starts_nothing_new_and_hands_on_what_was_in_flight() -> None:
    started, failed = [], threading.Event()

    def ask(i: int) -> int:
        started.append(i)
        if i == 2:
            failed.set()
            raise RuntimeError("two")
        if i in (3, 4):
            failed.wait()
            time.sleep(0.02)
        return i

    found = []
    with pytest.raises(RuntimeError, match="two"):
        for part in answers_in_flight(ask, range(100), 3):
            found += part
    assert {3, 4} & set(started) <= {i for i, _ in found}
    assert len(started) <= 8
    assert sorted([i for i, _ in found] + [2]) == sorted(started)
