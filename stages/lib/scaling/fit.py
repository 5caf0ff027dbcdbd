"""Best learning rates, the frontier of loss over compute, and a power law through it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from stages.lib.scaling.runs import Budget, Run, Size

Setup = tuple[Size, str, Budget]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """The runs of one setup at one learning rate."""

    lr: float
    runs: tuple[Run, ...]  # by seed

    @property
    def mean(self) -> float:
        """Validation loss over the seeds."""
        return fmean(run.val_loss for run in self.runs)

    @property
    def seed_error(self) -> float | None:
        """Standard error of the mean over the seeds; None: fewer than two."""
        losses = [run.val_loss for run in self.runs]
        return stdev(losses) / math.sqrt(len(losses)) if len(losses) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One setup over learning rates."""

    size: Size
    optimizer: str
    budget: Budget
    rates: tuple[Rate, ...]  # ascending

    @property
    def best(self) -> Rate:
        """The learning rate of the lowest loss, over the seeds that most rates have: others would be luck."""
        shared = self._shared_seeds()
        return min(self.rates, key=lambda rate: self._loss(rate, shared))

    @property
    def swept(self) -> bool:
        """Whether there was more than one learning rate to choose from."""
        return len(self.rates) > 1

    @property
    def at_edge(self) -> bool:
        """Whether the best is the lowest or highest that was tried: the true best may lie beyond."""
        return self.swept and self.best in (self.rates[0], self.rates[-1])

    def _shared_seeds(self) -> set[int]:
        return set.intersection(*({run.seed for run in rate.runs} for rate in self.rates))

    @staticmethod
    def _loss(rate: Rate, seeds: set[int]) -> float:
        return fmean([run.val_loss for run in rate.runs if run.seed in seeds] or [rate.mean])


def sweeps(runs: Iterable[Run]) -> list[Sweep]:
    """The runs by setup, in the order of size, optimizer and budget."""
    found: dict[Setup, dict[float, list[Run]]] = {}
    for run in runs:
        found.setdefault(run.setup, {}).setdefault(run.lr, []).append(run)
    return [
        Sweep(
            size=size,
            optimizer=optimizer,
            budget=budget,
            rates=tuple(
                Rate(lr=lr, runs=tuple(sorted(its, key=lambda run: run.seed))) for lr, its in sorted(rates.items())
            ),
        )
        for (size, optimizer, budget), rates in sorted(found.items())
    ]


@dataclass(frozen=True)
class Spent:
    """What a setup reached for its compute, at its best learning rate."""

    matmul_flops: float
    loss: float
    sweep: Sweep


def spent(found: Iterable[Sweep]) -> list[Spent]:
    """A point a setup, by compute."""
    points = [Spent(sweep.best.runs[0].matmul_flops, sweep.best.mean, sweep) for sweep in found]
    return sorted(points, key=lambda point: (point.matmul_flops, point.loss))


def frontier(points: Sequence[Spent]) -> list[Spent]:
    """Those that no cheaper or equally dear one equals or beats; `points` by compute."""
    lowest, kept = math.inf, []
    for point in points:
        if point.loss < lowest:
            lowest = point.loss
            kept.append(point)
    return kept


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """loss = scale x FLOPs ** -exponent."""

    scale: float
    exponent: float
    lowest: float  # exponent with one point left out, the smallest
    highest: float  # and the largest: how much one point decides, no confidence interval
    points: int

    def loss(self, flops: float) -> float:
        """Predicted."""
        return self.scale * math.exp(-self.exponent * math.log(flops))


def power_law(flops: Sequence[float], losses: Sequence[float]) -> PowerLaw | None:
    """Least squares of log loss over log FLOPs (Kaplan et al. 2020, arXiv:2001.08361, without a floor).

    A floor (the text's entropy) is a third unknown, which so few points do not tell from the exponent; over the narrow
    range of a few runs its effect is that the exponent comes out smaller than it would be towards the floor.

    Returns:
        None with fewer than three different computes: two lie on any line.
    """
    x, y = np.log(np.asarray(flops, dtype=np.float64)), np.log(np.asarray(losses, dtype=np.float64))
    if len(np.unique(x)) < 3:
        return None
    slope, intercept = np.polyfit(x, y, 1)
    others = [np.arange(len(x)) != i for i in range(len(x))]
    left_out = [-float(np.polyfit(x[rest], y[rest], 1)[0]) for rest in others if len(np.unique(x[rest])) > 1]
    return PowerLaw(
        scale=float(np.exp(intercept)),
        exponent=-float(slope),
        lowest=min(left_out),
        highest=max(left_out),
        points=len(x),
    )


@dataclass(frozen=True, kw_only=True)
class Rival:
    """An optimizer against another at one size and budget: each at its own best learning rate, on the same seeds."""

    sweep: Sweep
    against: Sweep
    seeds: tuple[int, ...]  # that both have at their best
    differences: tuple[float, ...]  # loss of `sweep` - loss of `against`, a seed each

    @property
    def mean(self) -> float:
        """Over the seeds, nats per token; below 0: `sweep` is better."""
        return fmean(self.differences)

    @property
    def error(self) -> float | None:
        """Standard error over the seeds; None: one seed."""
        count = len(self.differences)
        return stdev(self.differences) / math.sqrt(count) if count > 1 else None


def rivals(found: Sequence[Sweep], reference: str = "adamw") -> list[Rival]:
    """Every other optimizer against `reference`, where both have the same size and budget, and a seed in common."""
    made = []
    for sweep in found:
        for against in found:
            if sweep.optimizer == reference or against.optimizer != reference:
                continue
            if (sweep.size, sweep.budget) != (against.size, against.budget):
                continue
            ours, theirs = ({run.seed: run.val_loss for run in one.best.runs} for one in (sweep, against))
            seeds = tuple(sorted(ours.keys() & theirs.keys()))
            if seeds:
                differences = tuple(ours[seed] - theirs[seed] for seed in seeds)
                made.append(Rival(sweep=sweep, against=against, seeds=seeds, differences=differences))
    return made
