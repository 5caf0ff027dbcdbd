"""What the workers of the tests do; they import it by its name."""

import os
import signal
import time
from collections.abc import Callable, Sequence

POISON, BROKEN = -1, -2


def open_squares(seconds: float) -> Callable[[Sequence[int]], list[tuple[int, int]]]:
    """Squares, with the process that made them; one record raises, one kills its worker."""

    def squares(records: Sequence[int]) -> list[tuple[int, int]]:
        if POISON in records:
            os.kill(os.getpid(), signal.SIGKILL)
        if BROKEN in records:
            raise ValueError("this record cannot be squared")
        time.sleep(seconds)
        return [(record * record, os.getpid()) for record in records]

    return squares


def open_nothing() -> Callable[[Sequence[int]], list[int]]:
    """A worker whose model cannot be loaded."""
    raise ValueError("weights: no such file")
