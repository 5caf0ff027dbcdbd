"""Several requests to a server in flight at once, each answer handed on as soon as it is there."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

A = TypeVar("A")


def answers_in_flight(
    ask: Callable[[int], A], missing: Sequence[int], concurrency: int
) -> Iterator[list[tuple[int, A]]]:
    """Calls `ask(i)` for each i, at most `concurrency` at a time; yields (i, answer) as they complete.

    When one fails, no new one starts; those in flight are waited for and handed on, since their
    answers are paid for, and then the first failure is raised.
    """
    waiting = iter(missing)
    failure: BaseException | None = None
    flying: dict[Future[A], int] = {}
    with ThreadPoolExecutor(concurrency) as pool:
        for _, i in zip(range(concurrency), waiting, strict=False):  # never takes one more than it starts
            flying[pool.submit(ask, i)] = i
        while flying:
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            answered = []
            for future in sorted(done, key=lambda future: flying[future]):
                i = flying.pop(future)
                error = future.exception()
                failure = failure or error
                if error is None:
                    answered.append((i, future.result()))
            if answered:
                yield answered
            if failure is None:
                for _, i in zip(done, waiting, strict=False):
                    flying[pool.submit(ask, i)] = i
    if failure is not None:
        raise failure
