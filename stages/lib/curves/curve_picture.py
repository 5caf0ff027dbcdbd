"""What a stage shows of its training's curve: a CSV of the logged steps, and a PNG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.core.records import atomic_path, write_text
from stages.lib.curves.curves import HEADER, Point
from stages.lib.curves.score_curve import Scoring


@dataclass(frozen=True)
class ScorePanel:
    """Scores of the training's steps, to be drawn between losses and learning rate."""

    scoring: Scoring
    rows: Mapping[int, Mapping[str, float]]  # step -> column -> value


def publish_curve(
    points: Sequence[Point], log_every: int, csv: Path, png: Path, scores: ScorePanel | None = None
) -> None:
    """Writes the curve and its picture, with scores if there are any, to where a stage declares them.

    Of the steps, every `log_every`-th, those with a validation loss, and the last are shown.

    Raises:
        ValueError: there are no points.
    """
    last = points[-1:]
    shown = [point for point in points[:-1] if point.step % log_every == 0 or point.val_loss is not None]
    shown += last
    write_text(csv, HEADER + "".join(point.line() for point in shown))
    plot(shown, png, scores)


def smoothed(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over a centred window of up to `width` values (fewer at both ends), (n,) -> (n,)."""
    sums = np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))
    half = width // 2
    low = np.maximum(np.arange(len(values)) - half, 0)
    high = np.minimum(np.arange(len(values)) + half + 1, len(values))
    mean: np.ndarray = (sums[high] - sums[low]) / (high - low)
    return mean


def plot(points: Sequence[Point], path: Path, scores: ScorePanel | None = None) -> None:
    """Draws losses over scores, if any, over learning rate, as a PNG whose bytes depend on the points alone.

    Raises:
        ValueError: there are no points.
    """
    if not points:
        raise ValueError(f"{path}: the curve has no points to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second of import
    from matplotlib.figure import Figure

    steps = np.array([point.step for point in points])
    train = np.array([point.train_loss for point in points])
    evaluated = [(point.step, point.val_loss) for point in points if point.val_loss is not None]
    scored = scores is not None and bool(scores.rows)
    figure = Figure(figsize=(8, 7 if scored else 5), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    losses, *between, rates = figure.subplots(
        3 if scored else 2, 1, sharex=True, height_ratios=(4, 2, 1) if scored else (4, 1)
    )
    losses.plot(steps, train, color="tab:blue", linewidth=0.5, alpha=0.4)
    losses.plot(steps, smoothed(train, max(1, len(train) // 50)), color="tab:blue", linewidth=1.5, label="train")
    if evaluated:
        losses.plot(*zip(*evaluated, strict=True), color="tab:orange", marker="o", markersize=3, label="validation")
        best_step, best = min(evaluated, key=lambda pair: pair[1] if math.isfinite(pair[1]) else math.inf)
        losses.set_title(f"best validation loss {best:.4g} nats per token at step {best_step}", fontsize=10)
    losses.set_ylabel("loss (nats per token)")
    losses.grid(alpha=0.3)
    losses.legend(frameon=False)
    if scores is not None and between:
        _draw_scores(between[0], scores)
    rates.plot(steps, [point.lr for point in points], color="tab:green", linewidth=1)
    rates.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    rates.grid(alpha=0.3)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        canvas.print_png(file, metadata={"Software": None})  # no version: the bytes say nothing of the machine


def _draw_scores(axes: Any, scores: ScorePanel) -> None:
    from scipy.stats import binomtest

    scoring, steps = scores.scoring, list(scores.rows)
    for name, color in zip(scoring.shown, ("tab:red", "tab:purple", "tab:brown"), strict=False):
        values = [scores.rows[step][name] for step in steps]
        counts = [round(scores.rows[step]["items"]) for step in steps]
        intervals = [
            binomtest(round(value * n), n).proportion_ci(0.95, "wilson")
            for value, n in zip(values, counts, strict=True)
        ]
        axes.plot(steps, values, color=color, marker="o", markersize=3, label=name)
        axes.fill_between(
            steps, [i.low for i in intervals], [i.high for i in intervals], color=color, alpha=0.12, linewidth=0
        )
    axes.axhline(scoring.chance, color="gray", linewidth=1, linestyle="--", label="chance")
    axes.set_ylabel(f"{scoring.name}\n(share, 95% Wilson)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
