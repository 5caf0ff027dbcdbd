"""Two panels: CPU seconds and peak memory of each stage over its items, with what lies ahead dashed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.extrapolation import TOO_MUCH_GB, Growth
from stages.lib.core.records import atomic_path

AHEAD = 1e7  # chunks up to which lines are drawn on
MARKERS = "osD^vPX*<>h"


def draw(found: Sequence[Growth], path: Path) -> None:
    """Draws a PNG whose bytes depend on the costs alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second of import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.5), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    chunks = [growth for growth in found if growth.stage != "shard"]  # shard's items are tokens
    for number, growth in enumerate(chunks):
        colour = f"C{number % 10}"
        style = {"color": colour, "marker": MARKERS[number % len(MARKERS)], "markersize": 5}
        last = growth.items[-1]
        ahead = np.geomspace(last, AHEAD, 20)
        left.plot(growth.items, [cost.cpu_s for cost in growth.grown], label=growth.stage, **style)
        own = [growth.seconds(items, 1, model=False) for items in ahead]
        left.plot(ahead, own, color=colour, linestyle="--", linewidth=1)
        right.plot(growth.items, [cost.peak_mb / 1e3 for cost in growth.grown], label=growth.stage, **style)
        right.plot(ahead, [growth.memory_gb(items) for items in ahead], color=colour, linestyle="--", linewidth=1)
    right.axhline(TOO_MUCH_GB, color="black", linewidth=1)
    right.annotate(f"{TOO_MUCH_GB:g} GB", (0.02, TOO_MUCH_GB * 1.1), xycoords=("axes fraction", "data"))
    _label(left, "CPU seconds beside the model, one worker")
    _label(right, "peak memory, GB")
    left.legend(fontsize=8, ncols=2)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        canvas.print_png(file, metadata={"Software": None})  # no version: the bytes say nothing of the machine


def _label(axes: Any, what: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("chunks (dashed: extrapolated)")
    axes.set_ylabel(what)
    axes.grid(alpha=0.3)
