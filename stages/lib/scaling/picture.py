"""Two panels: validation loss over compute, and over the learning rate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.core.records import atomic_path
from stages.lib.scaling.fit import Spent, Sweep, frontier, power_law, spent
from stages.lib.scaling.runs import Size, short

MARKERS = "osD^vPX"  # of optimizers
STYLES = ("-", "--", "-.", ":")  # of budgets


def draw(found: Sequence[Sweep], path: Path) -> None:
    """Draws the sweeps as a PNG whose bytes depend on them alone.

    Left: each setup's best learning rate; a line is its validations while it trained, the marker at its end what it
    reached. Rings: the frontier of an optimizer; dashed: the power law through it. Right: the losses of setups with
    more than one learning rate; a ring: the best.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second of import
    from matplotlib.figure import Figure

    swept = [sweep for sweep in found if sweep.swept]
    figure = Figure(figsize=(12 if swept else 6.5, 6), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 if swept else 1, squeeze=False)[0]
    colours = {size: f"C{i % 10}" for i, size in enumerate(sorted({sweep.size for sweep in found}))}
    markers = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(sorted({sweep.optimizer for sweep in found}))}
    _over_compute(panels[0], found, colours, markers)
    if swept:
        _over_rate(panels[1], swept, colours, markers)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        canvas.print_png(file, metadata={"Software": None})  # no version: the bytes say nothing of the machine


def _over_compute(axes: Any, found: Sequence[Sweep], colours: dict[Size, str], markers: dict[str, str]) -> None:
    seen: set[tuple[Size, str]] = set()
    ends: list[float] = []
    for sweep in found:
        best, label = sweep.best, None
        if (sweep.size, sweep.optimizer) not in seen:
            seen.add((sweep.size, sweep.optimizer))
            label = f"{sweep.size}, {sweep.optimizer}"
        colour, run = colours[sweep.size], best.runs[0]
        curve = [(point.matmul_flops, point.val_loss) for point in run.curve]
        axes.plot(*zip(*curve, strict=True), color=colour, linewidth=0.8, alpha=0.5)
        axes.errorbar(
            run.matmul_flops,
            best.mean,
            yerr=best.seed_error,
            color=colour,
            marker=markers[sweep.optimizer],
            markersize=6,
            linestyle="",
            label=label,
        )
        ends.append(best.mean)
    for i, name in enumerate(sorted(markers)):
        edge = frontier(spent(sweep for sweep in found if sweep.optimizer == name))
        _law(axes, edge, name, STYLES[(i + 1) % len(STYLES)])
    low, high = min(ends), max(ends)
    axes.set(xscale="log", yscale="log", xlabel="training FLOPs of matrix products", ylabel=LOSS)
    axes.set_ylim(low * 0.95, high * 1.2)  # the first validations stand far above
    _plain_ticks(axes.yaxis, low * 0.95, high * 1.2)
    axes.set_title("loss over compute", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    _legend_below(axes)


LOSS = "validation loss (nats per token)"


def _law(axes: Any, edge: Sequence[Spent], optimizer: str, style: str) -> None:
    flops, losses = [point.matmul_flops for point in edge], [point.loss for point in edge]
    axes.plot(flops, losses, linestyle="", marker="o", markersize=12, markerfacecolor="none", color="black", alpha=0.6)
    law = power_law(flops, losses)
    if law is not None:
        x = np.geomspace(min(flops) / 1.5, max(flops) * 1.5, 50)
        label = f"{optimizer}: loss ~ FLOPs^-{law.exponent:.3f}"
        axes.plot(x, [law.loss(at) for at in x], linestyle=style, color="black", linewidth=1, label=label)


def _over_rate(axes: Any, swept: Sequence[Sweep], colours: dict[Size, str], markers: dict[str, str]) -> None:
    budgets = sorted({sweep.budget for sweep in swept})
    for sweep in swept:
        colour, marker = colours[sweep.size], markers[sweep.optimizer]
        rates, losses = [rate.lr for rate in sweep.rates], [rate.mean for rate in sweep.rates]
        label = f"{sweep.size}, {sweep.optimizer}"
        if len(budgets) > 1:
            label += f", {short(sweep.budget.tokens)} tokens"
        style = STYLES[budgets.index(sweep.budget) % len(STYLES)]
        axes.plot(rates, losses, color=colour, marker=marker, markersize=5, linestyle=style, linewidth=1, label=label)
        ring = {"marker": "o", "markersize": 12, "markerfacecolor": "none", "color": "black", "alpha": 0.6}
        axes.plot([sweep.best.lr], [sweep.best.mean], **ring)
    means = [rate.mean for sweep in swept for rate in sweep.rates]
    axes.set(xscale="log", xlabel="peak learning rate", ylabel=LOSS)
    every = sorted({rate.lr for sweep in swept for rate in sweep.rates})
    axes.set_xticks(every, [f"{lr:g}" for lr in every], rotation=45, fontsize=8)
    axes.set_xticks([], minor=True)
    axes.set_ylim(min(means) - 0.1, min(max(means) + 0.1, min(means) + 3))  # one that diverged hides the others
    axes.set_title("loss over the learning rate; a ring: the best", fontsize=10)
    axes.grid(alpha=0.3)
    _legend_below(axes)


def _legend_below(axes: Any) -> None:
    """Beside the lines there is no place that is always free."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=8)


def _plain_ticks(axis: Any, low: float, high: float) -> None:
    """Losses as numbers: a logarithmic axis below a decade would have none, or powers of ten."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    step = next(width for width in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if (high - low) / width < 12 or width == 10)
    axis.set_major_locator(FixedLocator(list(np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
