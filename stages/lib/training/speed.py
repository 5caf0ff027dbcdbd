"""How fast a training is: what it learned from and what it computed, over the seconds of its steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from time import perf_counter

import numpy as np
from torch import Tensor

from stages.lib.gpt.model import GPT
from stages.lib.launching.world import World
from stages.lib.tokens.targets import IGNORED
from stages.lib.training.precision import Precision, matmul_peak, rate


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What the clock said of a run's steps, all processes together; its first step, which compiles, left out."""

    tokens: int  # trained on, padding not counted
    positions: int  # computed, padding included
    seconds: float  # in training steps; validation and checkpoints not counted
    flops: float  # floating-point operations of the matrix products, of the computed positions
    peak: float  # floating-point operations a second of a large matrix product here; 0: not measured

    @property
    def tokens_per_second(self) -> float:
        """Over the whole run."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def matmul_share(self) -> float | None:
        """Share of the peak rate, 0..1; None where the peak is not known.

        A share above 1 shows that the peak was measured too low (other programs took their part of the machine just
        then), so that none can be told.
        """
        if not self.seconds or not self.peak or self.flops > self.seconds * self.peak:
            return None
        return self.flops / self.seconds / self.peak

    def __str__(self) -> str:
        share = self.matmul_share
        known = "share of the matmul peak unknown" if share is None else f"{share:.0%} of the matmul peak"
        return f"{self.tokens_per_second:,.0f} tokens/s, {known}"


class Meter:
    """Counts what a process's training steps compute, and times them."""

    def __init__(self, model: GPT, world: World) -> None:
        self.world = world
        self.peak = 0.0  # of this process
        self._precision: Precision = "float32"
        self._steps = 0
        self._counts = np.zeros(3)  # tokens, positions, operations of this process
        self._seconds = 0.0
        self._first = (self._counts, self._seconds)  # the same of the first step
        self._flops = cache(partial(model.matmul_flops, 1))  # a position, by the width of its row

    def measure_peak(self, precision: Precision) -> None:
        """Measures what this machine's matrix products reach; about a second, once a process."""
        self.peak = max(self.peak, matmul_peak(precision, self.world.device))
        self._precision = precision

    def count(self, targets: np.ndarray | Tensor) -> None:
        """Takes note of a micro-batch that is computed, by its targets, int64 (B, T), on the CPU.

        A row's tokens are those up to its last target: what lies behind is padding.
        """
        batch, width = targets.shape
        learned = np.asarray(targets) != IGNORED
        tokens = int(np.where(learned.any(1), width - learned[:, ::-1].argmax(1), 0).sum())
        self._counts += (tokens, batch * width, batch * width * self._flops(width))

    @contextmanager
    def step(self) -> Iterator[None]:
        """Times one training step; its micro-batches are counted within."""
        start = perf_counter()
        yield
        self._seconds += perf_counter() - start
        self._steps += 1
        if self._steps == 1:  # compiles, loads kernels: no part of what a step takes
            self._first = (self._counts, self._seconds)
            self._counts, self._seconds = np.zeros(3), 0.0

    def so_far(self) -> Speed:
        """As this process knows it: the others do as much. No communication."""
        return self._speed(self._counts * self.world.size, self._seconds)

    def total(self) -> Speed:
        """Summed over all processes, which all call this.

        If the steps were faster than the peak, that is measured once more: the machine may have been busy then.
        """
        counts = np.array(self.world.total(self._counts.tolist()))
        found = self._speed(counts, self._seconds)
        if found.peak and found.matmul_share is None:
            rate.cache_clear()
            self.measure_peak(self._precision)
            found = self._speed(counts, self._seconds)
        return found

    def _speed(self, counts: np.ndarray, seconds: float) -> Speed:
        if self._steps == 1:  # there is no other
            counts, seconds = self._first[0] * self.world.size, self._first[1]
        return Speed(
            tokens=int(counts[0]),
            positions=int(counts[1]),
            seconds=seconds,
            flops=float(counts[2]),
            peak=self.peak * self.world.size,
        )
