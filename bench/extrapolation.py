"""From measured sizes to large ones: exponents, seconds on some workers, and the memory that a stage then wants.

Method. A stage's CPU seconds are told by its parts (its own watch: wall seconds, taken as shares of its CPU seconds).
Each part grows as a * n^b, b by least squares over log(seconds - those of the start) and log(items): a part that is
quadratic is not hidden by a linear one that is larger at the sizes measured. What a model computes comes on top, at its
rate on few items, and grows with the items. Workers (a core each) share DIVIDED parts and the model; the rest is one
process's (Amdahl 1967): seconds = rest + (divided + model) / workers. The sharing itself costs nothing here.

Memory: what an item took between the two largest sizes, times the items. An exponent would say less than will be
wanted, since what is bounded (blocks, tiles) is in the small sizes and not in the growth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.stage_costs import Cost, Stage, start_of

LEAST_CPU, LEAST_MB = 0.2, 10.0  # above the start, below which a cost is not told apart from it
TOO_MUCH_GB = 16.0
WORKERS = (1, 8, 64)
IMPORTS = "imports"
# Parts that workers share: documents, chunks or requests that know nothing of each other.
DIVIDED: dict[Stage, frozenset[str]] = {
    "chunk": frozenset({"chunk"}),
    "shard": frozenset({"tokenize"}),
    "near_pairs": frozenset({"embed"}),  # the search is one process of as many threads as the machine has cores
    "dedup": frozenset(),
    "embed": frozenset({"embed"}),
    "rerank": frozenset({"rerank"}),
    "benchmark": frozenset(),
    "qa": frozenset({"ask"}),
    "judge": frozenset({"judge"}),
    "select": frozenset(),
    "instruct": frozenset(),
}
# CPU seconds of the embedded models an item, float32 with AVX2: bench/graph.csv's stage less what it costs without its
# model, by the items of that run (metrics/full): 1,235 chunks; 180 chunks; 118 questions and 80 probes of each kind.
MODEL_SECONDS: dict[Stage, float] = {
    "near_pairs": (53.5 - 3.8) / 1235,  # embed finds these vectors in the ledger
    "qa": (47.0 - 5.0) / 180,
    "judge": (118.9 - 5.0) / (118 + 80),
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A size to extrapolate to."""

    name: str
    items: Mapping[Stage, float]  # of the stages that it concerns


def exponent(items: Sequence[int], costs: Sequence[float], start: float, least: float) -> float | None:
    """The slope of log(cost - start) over log(items), where cost - start is above `least`; None below two points."""
    fitted = power_law(items, costs, start, least)
    return fitted and fitted[1]


def power_law(items: Sequence[int], costs: Sequence[float], start: float, least: float) -> tuple[float, float] | None:
    """(log a, b) of cost - start = a * items^b, where that is above `least`; None below two points."""
    points = [(count, cost - start) for count, cost in zip(items, costs, strict=True) if cost - start > least]
    if len(points) < 2:
        return None
    x, y = np.log(np.array(points, dtype=np.float64)).T
    slope, intercept = np.polyfit(x, y, 1)
    return float(intercept), float(slope)


class Growth:
    """How one stage grows; of its costs one is the start's."""

    def __init__(self, costs: Sequence[Cost]) -> None:
        by_scale = {cost.scale: cost for cost in costs}
        self.stage: Stage = costs[0].stage
        self.start = by_scale.pop(start_of(self.stage))
        self.grown = [by_scale[scale] for scale in sorted(by_scale) if scale > self.start.scale]
        self.items = [cost.items for cost in self.grown]

    @property
    def time_exponent(self) -> float | None:
        """Of CPU seconds."""
        return exponent(self.items, [cost.cpu_s for cost in self.grown], self.start.cpu_s, LEAST_CPU)

    @property
    def memory_exponent(self) -> float | None:
        """Of the peak."""
        return exponent(self.items, [cost.peak_mb for cost in self.grown], self.start.peak_mb, LEAST_MB)

    @property
    def bytes_an_item(self) -> float:
        """Between the two largest sizes; 0 where the peak did not grow."""
        (_, first), (_, last) = sorted((cost.items, cost) for cost in self.grown)[-2:]
        return max(0.0, (last.peak_mb - first.peak_mb) * 1e6 / (last.items - first.items))

    def memory_gb(self, items: float) -> float:
        """Wanted at that size, less the little that is bounded and not yet reached."""
        last = self.grown[-1]
        return (last.peak_mb * 1e6 + self.bytes_an_item * max(0.0, items - last.items)) / 1e9

    def seconds(self, items: float, workers: int, model: bool = True) -> float:
        """CPU seconds of the longest worker, which is wall time where each has a core of its own; with its model's."""
        rest, divided = self.start.cpu_s, MODEL_SECONDS.get(self.stage, 0.0) * items if model else 0.0
        for part in dict.fromkeys(name for cost in self.grown for name in part_seconds(cost)):
            seconds = self._part(part, items)
            if part in DIVIDED[self.stage]:
                divided += seconds
            else:
                rest += seconds
        return rest + divided / workers

    def _part(self, part: str, items: float) -> float:
        costs = [part_seconds(cost).get(part, 0.0) for cost in self.grown]
        fitted = power_law(self.items, costs, part_seconds(self.start).get(part, 0.0), LEAST_CPU / 4)
        if fitted is None:  # not told apart from the start at the sizes measured: at most in proportion
            return float(costs[-1] * max(1.0, items / self.items[-1]))
        return float(np.exp(fitted[0] + fitted[1] * np.log(items)))


def part_seconds(cost: Cost) -> dict[str, float]:
    """CPU seconds of a stage's parts but its imports: shares of its wall seconds, so that waiting does not count."""
    walls = {}
    for entry in cost.parts.split(", ") if cost.parts else ():
        name, _, seconds = entry.rpartition(" ")
        walls[name] = float(seconds)
    total = sum(walls.values())
    if not walls.keys() - {IMPORTS}:
        return {"all": cost.cpu_s}
    return {name: cost.cpu_s * wall / total for name, wall in walls.items() if name != IMPORTS} if total else {}


def growths(costs: Sequence[Cost]) -> list[Growth]:
    """Of each stage, in the order of the costs."""
    stages = dict.fromkeys(cost.stage for cost in costs)
    return [Growth([cost for cost in costs if cost.stage == stage]) for stage in stages]


def exponents_table(found: Sequence[Growth]) -> str:
    """Markdown: a line a stage, CPU seconds and MB at each size."""
    scales = sorted({cost.scale for growth in found for cost in growth.grown})
    heads = [f"x{scale:g}: CPU s, MB" for scale in scales]
    lines = [
        f"| stage | start: CPU s, MB | {' | '.join(heads)} | exponent of time | of memory | bytes an item |",
        "|---|---|" + "---|" * len(scales) + "---|---|---|",
    ]
    for growth in found:
        by_scale = {cost.scale: f"{cost.cpu_s:.1f}, {cost.peak_mb:.0f}" for cost in growth.grown}
        cells = [
            f"{growth.start.cpu_s:.1f}, {growth.start.peak_mb:.0f}",
            *(by_scale.get(scale, "") for scale in scales),
        ]
        slopes = (growth.time_exponent, growth.memory_exponent)
        cells += ["flat" if slope is None else f"{slope:.2f}" for slope in slopes]
        cells.append(f"{growth.bytes_an_item:,.2g}" if growth.bytes_an_item < 10 else f"{growth.bytes_an_item:,.0f}")
        lines.append(f"| {growth.stage} | {' | '.join(cells)} |")
    return "\n".join(lines)


def targets_table(found: Sequence[Growth], targets: Sequence[Target]) -> str:
    """Markdown: a line a target and stage: time on each number of workers, memory, and how many items fit 16 GB."""
    heads = " | ".join(f"{workers} worker{'s' if workers > 1 else ''}" for workers in WORKERS)
    lines = [
        f"| target | stage | {heads} | memory | items that 16 GB hold |",
        "|---|---|" + "---|" * (len(WORKERS) + 2),
    ]
    for target in targets:
        for growth in found:
            if growth.stage not in target.items:
                continue
            items = target.items[growth.stage]
            times = " | ".join(duration(growth.seconds(items, workers)) for workers in WORKERS)
            memory = growth.memory_gb(items)
            mark = "**" if memory > TOO_MUCH_GB else ""
            cells = f"{times} | {mark}{memory:.1f} GB{mark} | {items_that_fit(growth)}"
            lines.append(f"| {target.name} | {growth.stage} | {cells} |")
    return "\n".join(lines)


def items_that_fit(growth: Growth) -> str:
    """How many items TOO_MUCH_GB hold, in millions."""
    if not growth.bytes_an_item:
        return "any"
    last = growth.grown[-1]
    return f"{(last.items + (TOO_MUCH_GB * 1e9 - last.peak_mb * 1e6) / growth.bytes_an_item) / 1e6:,.1f} M"


def duration(seconds: float) -> str:
    """In the unit that is read at once."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"
