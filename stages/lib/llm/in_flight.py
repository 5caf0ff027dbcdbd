"""Several requests to a server in flight at once, each answer handed on as soon as it is there."""

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

A = TypeVar("A")


def answers_in_flight(
    ask: Callable[[int], A], missing: Sequence[int], concurrency: int
) -> Iterator[list[tuple[int, A]]]:
    """Calls `ask(i)` for each i, at most `concurrency` at a time; yields (i, answer) as they complete.

    When one fails, no new one starts; those in flight are waited for and handed on, since their answers are paid for,
    and then the first failure is raised. On Ctrl-C what is there already is handed on, and nobody is waited for: the
    threads are daemons, so that the process can end while a server holds them.
    """
    todo: SimpleQueue[int] = SimpleQueue()
    done: SimpleQueue[tuple[int, A | None, BaseException | None]] = SimpleQueue()
    ended = threading.Event()
    for i in missing:
        todo.put(i)

    def work() -> None:
        while not ended.is_set():
            try:
                i = todo.get_nowait()
            except Empty:
                return
            try:
                done.put((i, ask(i), None))
            except BaseException as error:  # handed to the thread that waits
                ended.set()
                done.put((i, None, error))
                return

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(concurrency, len(missing)))]
    for worker in workers:
        worker.start()
    failure: BaseException | None = None
    left = len(missing)
    try:
        while left:
            try:
                found = [done.get(timeout=0.2), *_waiting(done)]
            except Empty:
                if not any(worker.is_alive() for worker in workers) and done.empty():
                    break  # after a failure
                continue
            except KeyboardInterrupt as interrupt:
                ended.set()
                found = _waiting(done)
                failure, left = interrupt, len(found)
            left -= len(found)
            failure = failure or next((error for _, _, error in found if error is not None), None)
            answered = [(i, answer) for i, answer, error in sorted(found, key=lambda part: part[0]) if error is None]
            if answered:
                yield answered  # type: ignore[misc]  # an answer where there is no error
    finally:
        ended.set()
    if failure is not None:
        raise failure


def _waiting(
    done: "SimpleQueue[tuple[int, A | None, BaseException | None]]",
) -> list[tuple[int, A | None, BaseException | None]]:
    """All that is there."""
    found = []
    while not done.empty():
        found.append(done.get())
    return found
