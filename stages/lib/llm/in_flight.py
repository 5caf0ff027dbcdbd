"""Several requests to a server in flight at once, each answer handed on as soon as it is there; and those that fail.

One that fails is counted with its reason. When more fail than may, the run ends.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

A = TypeVar("A")
FEW = 10  # failures that end no run
EARLY = 50  # failures from which on the share among what was answered so far counts, before all are asked


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


class FailureCount:
    """Counts what failed and what was answered of the requests of one call; any number of threads."""

    def __init__(self, most: float, requests: int, answered: int) -> None:
        """`most`: share of the requests that may fail, 0..1; `answered`: those that the ledger answered."""
        self._most, self._requests, self._answered = most, requests, answered
        self._errors: list[str] = []
        self._lock = threading.Lock()

    def enter(self, error: str) -> None:
        """Counts one; "": it was answered.

        Raises:
            RuntimeError: more have failed than may.
        """
        with self._lock:
            if not error:
                self._answered += 1
                return
            self._errors.append(error)
            failed = len(self._errors)
            early = failed >= EARLY and failed > self._most * (failed + self._answered)
            if failed >= FEW and (early or failed > self._most * self._requests):
                raise RuntimeError(
                    f"{failed} requests failed and {self._answered} of {self._requests} were answered, more than "
                    f"max_failed {self._most:g} of the model's entry allows: {top_reasons(self._errors)}"
                )


def top_reasons(errors: Iterable[str], most: int = 3) -> str:
    """The most frequent reasons with their counts, numbers in them aside; "" without any."""
    shown: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for error in errors:
        kind = re.sub(r"\d+", "N", error)[:200]
        shown.setdefault(kind, error if len(error) <= 300 else f"{error[:300]}...")
        counts[kind] += 1
    parts = [f"{count} x {shown[kind]}" for kind, count in counts.most_common(most)]
    others = counts.total() - sum(count for _, count in counts.most_common(most))
    return "; ".join([*parts, f"{others} x other reasons"] if others else parts)
