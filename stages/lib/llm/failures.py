"""Requests that failed: their reasons in a line, and when there are so many that a run ends."""

import re
import threading
from collections import Counter
from collections.abc import Iterable

FEW = 10  # failures that end no run
EARLY = 50  # failures from which on the share among what was answered so far counts, before all are asked


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
