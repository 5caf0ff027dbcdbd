"""A GRPO training in a picture and a table: what each reward did, how far the policy went from its base."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.core.records import atomic_path, write_csv

COLORS = ("#332288", "#88CCEE", "#117733", "#CC6677", "#DDCC77", "#AA4499")  # Paul Tol's "muted" scheme
# Column of the curve -> its axis; what a training does not log (KL with beta 0) is left out.
DRIFT = {"kl": "KL from the base (nats per token)", "entropy": "entropy (nats per token)"}
DASHES = ("-", "-.", (0, (5, 1)), (0, (1, 1)))  # of the rewards, when the colours are used up
WEIGHTED = "weighted sum"
SHARES = {"clipped_share": "cut at the token limit", "zero_variance_groups": "groups alike"}


def reward_quarters(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The mean reward of the first and the last quarter of a training's steps that were rewarded; None: none was."""
    rewarded = [value for _, value in known(rows, "reward")]
    quarter = -(-len(rewarded) // 4)
    return {
        "reward_first_quarter": float(np.mean(rewarded[:quarter])) if rewarded else None,
        "reward_last_quarter": float(np.mean(rewarded[-quarter:])) if rewarded else None,
    }


def known(rows: Sequence[Mapping[str, float | None]], column: str) -> list[tuple[float, float]]:
    """Step and value of the rows that have one; what a training does not log leaves its cells empty."""
    found = [(row["step"], row.get(column)) for row in rows]
    return [(step, value) for step, value in found if step is not None and value is not None]


def publish_curve(
    rows: Sequence[Mapping[str, float | None]], names: Sequence[str], caption: str, table: Path, out: Path
) -> None:
    """The training step by step: all columns in `table`; in `out` the rewards in long format, and a picture.

    `caption`: what was trained on what.
    """
    write_csv(table, rows)
    write_csv(out / "rewards.csv", reward_rows(rows, names))
    draw_rewards(out / "curve.png", rows, names, caption)


def reward_rows(rows: Sequence[Mapping[str, float | None]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Long format for `dvc plots`: a row per step and reward, so that dvc.yaml need not name the rewards.

    Args:
        rows: of `settings.curve_rows`; those without rewards are left out.
        names: of the rewards, each with columns `{name}_mean` and `{name}_std`.
    """
    columns = {WEIGHTED: ("reward", "reward_std"), **{name: (f"{name}_mean", f"{name}_std") for name in names}}
    return [
        {"step": row["step"], "reward": name, "mean": row.get(mean), "std": row.get(std)}
        for row in rows
        if row.get("reward") is not None
        for name, (mean, std) in columns.items()
    ]


def draw_rewards(path: Path, rows: Sequence[Mapping[str, float | None]], names: Sequence[str], caption: str) -> None:
    """Draws the rows of `settings.curve_rows` into a PNG, whole or not at all.

    Args:
        path: the PNG.
        rows: one per step; those without rewards (a further iteration on the same replies) are drawn for drift alone.
        names: of the rewards, each with a column `{name}_mean`.
        caption: what was trained on what.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    marker = "o" if len(rows) < 50 else None
    style = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 10, "legend.frameon": False}
    height = 4.2 + 0.2 * max(0, (len(names) + len(SHARES) + 1) // 2 - 4)  # inches; the legend has two columns
    with plt.rc_context(style):
        figure, (total, each, drift) = plt.subplots(1, 3, figsize=(12, height), layout="constrained")
        means, spread = known(rows, "reward"), dict(known(rows, "reward_std"))
        steps = [step for step, _ in means]
        total.plot(steps, [mean for _, mean in means], color="black", marker=marker, markersize=4)
        low = [mean - spread.get(step, 0.0) for step, mean in means]
        high = [mean + spread.get(step, 0.0) for step, mean in means]
        total.fill_between(steps, low, high, color="black", alpha=0.12, linewidth=0, label="one deviation of replies")
        total.set_title("weighted reward", loc="left", fontsize=10)
        for place, name in enumerate(names):
            color, dash = COLORS[place % len(COLORS)], DASHES[place // len(COLORS) % len(DASHES)]
            line: dict[str, Any] = {"color": color, "linestyle": dash, "marker": marker, "markersize": 4}
            _draw(each, known(rows, f"{name}_mean"), label=name, **line)
        for (column, name), dash in zip(SHARES.items(), (":", "--"), strict=True):
            if any(value for _, value in known(rows, column)):
                _draw(each, known(rows, column), label=name, linestyle=dash, color="grey", linewidth=1)
        each.set_ylim(-0.03, 1.03)
        each.set_title("each reward, mean of the step's replies", loc="left", fontsize=10)
        for (column, name), color in zip(DRIFT.items(), COLORS, strict=False):
            _draw(drift, known(rows, column), color=color, marker=marker, markersize=4, label=name)
        drift.set_ylim(bottom=0)
        drift.set_title("the policy", loc="left", fontsize=10)
        for axes in (total, each, drift):
            axes.set_xlabel("step")
            axes.xaxis.get_major_locator().set_params(integer=True)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8.5)
        figure.suptitle(caption, fontsize=11, x=0.01, ha="left")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
        plt.close(figure)


def _draw(axes: Any, points: Sequence[tuple[float, float]], **style: Any) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), **style)
