"""The picture of a retrieval benchmark: accuracy over k, accuracy over dimension, MRR with intervals.

The bytes depend on the numbers alone: no date, no version of matplotlib in the file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.lib.records import Record, atomic_path

# Okabe and Ito's palette, told apart with any colour vision; its yellow is too light for lines on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BASELINE_COLOR = "#666666"
MOST_SYSTEMS = 8  # drawn; the CSV has all


def draw(
    path: Path,
    rows: Sequence[Record],
    over_k: Sequence[Record],
    over_dimension: Sequence[Record],
    *,
    headline_k: int,
    caption: str,
) -> None:
    """Draws the three panels into a PNG.

    Args:
        path: the PNG, written whole or not at all.
        rows: of `report.tabulate`.
        over_k: of `report.accuracy_over_k`.
        over_dimension: of `report.accuracy_over_dimension`.
        headline_k: the k of `over_dimension`.
        caption: what was measured on what, below the title.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    full = [row for row in rows if row["full_dimension"]]
    shown = shown_systems(full)
    styles = _styles(shown)
    if len(shown) < len(full):
        caption += f"; the best {len(shown)} of {len(full)} systems, all in benchmark_results.csv"
    settings = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True}
    with plt.rc_context({**settings, "grid.color": "#e4e4e4", "axes.axisbelow": True, "legend.frameon": False}):
        figure = plt.figure(figsize=(12, 5.6 + 0.34 * len(shown)), layout="constrained")
        grid = figure.add_gridspec(2, 2, height_ratios=[4.4, 0.8 + 0.34 * len(shown)])
        _draw_over_k(figure.add_subplot(grid[0, 0]), over_k, styles)
        _draw_over_dimension(figure.add_subplot(grid[0, 1]), over_dimension, styles, headline_k)
        _draw_bars(figure.add_subplot(grid[1, :]), [row for row in full if row["system"] in styles], styles)
        figure.suptitle(f"Which system finds the chunk that answers?\n{caption}", fontsize=12)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=130, metadata={"Software": None})
        plt.close(figure)


def shown_systems(full: Sequence[Record]) -> list[str]:
    """The systems to draw, by descending MRR: all, or the best beside the baseline and the first dense one."""
    by_mrr = sorted(full, key=lambda row: (-row["mrr"], row["system"]))
    if len(full) <= MOST_SYSTEMS:
        return [row["system"] for row in by_mrr]
    always = [
        next(row["system"] for row in full if row["method"] == "bm25"),
        next(row["system"] for row in full if row["method"] == "dense"),
    ]
    best = [row["system"] for row in by_mrr if row["system"] not in always][: MOST_SYSTEMS - len(always)]
    return [row["system"] for row in by_mrr if row["system"] in {*always, *best}]


def readable(row: Record) -> str:
    """A system's name for a legend."""
    if row["method"] == "bm25":
        return "BM25"
    dense = f"{row['embedding']} ({row['instruction']})"
    return {"dense": dense, "reranked": f"{dense}, reranked by {row['reranker']}", "fused": f"{dense} + BM25 (RRF)"}[
        row["method"]
    ]


def _styles(shown: Sequence[str]) -> dict[str, dict[str, str]]:
    """Colour and marker of each system; the baseline is grey and dashed."""
    others = [name for name in shown if name != "bm25"]
    styles = {
        name: {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)], "linestyle": "-"}
        for i, name in enumerate(sorted(others))
    }
    return styles | {"bm25": {"color": BASELINE_COLOR, "marker": ".", "linestyle": "--"}}


def _draw_over_k(axes: Any, over_k: Sequence[Record], styles: dict[str, dict[str, str]]) -> None:
    ks = sorted({row["k"] for row in over_k})
    for place, (name, style) in enumerate(styles.items()):
        points = [row for row in over_k if row["system"] == name]
        # The k stand at equal distances, the systems beside each other, so that no interval hides another.
        shift = (place - (len(styles) - 1) / 2) * 0.5 / len(styles)
        axes.errorbar(
            [ks.index(row["k"]) + shift for row in points],
            [row["accuracy"] for row in points],
            yerr=_bars(points, "accuracy"),
            capsize=0,
            elinewidth=1,
            markersize=5,
            linewidth=1.4,
            **style,
        )
    axes.set_xticks(range(len(ks)), [str(k) for k in ks])
    axes.set(xlabel="k", ylabel="accuracy@k", title="Right chunk among the first k", ylim=(0, 1.02))


def _draw_over_dimension(
    axes: Any, over_dimension: Sequence[Record], styles: dict[str, dict[str, str]], headline_k: int
) -> None:
    names = list(dict.fromkeys(row["system"] for row in over_dimension))
    dimensions = sorted({row["dimension"] for row in over_dimension})
    for place, name in enumerate(names):
        points = [row for row in over_dimension if row["system"] == name]
        style = styles.get(name, {"color": COLORS[place % len(COLORS)], "marker": ".", "linestyle": ":"})
        shift = (place - (len(names) - 1) / 2) * 0.4 / len(names)
        axes.errorbar(
            [dimensions.index(row["dimension"]) + shift for row in points],
            [row["accuracy"] for row in points],
            yerr=_bars(points, "accuracy"),
            capsize=0,
            elinewidth=1,
            markersize=5,
            linewidth=1.4,
            label=name.replace("_", " (", 1) + ")",
            **style,
        )
    axes.set_xticks(range(len(dimensions)), [str(dimension) for dimension in dimensions])
    title = f"accuracy@{headline_k} of vectors cut short"
    axes.set(xlabel="dimensions kept", ylabel=f"accuracy@{headline_k}", title=title, ylim=(0, 1.02))
    axes.legend(loc="lower right", fontsize=9)


def _draw_bars(axes: Any, rows: Sequence[Record], styles: dict[str, dict[str, str]]) -> None:
    """MRR of each system as a horizontal bar, the best on top; the names are the legend of the colours."""
    ordered = sorted(rows, key=lambda row: (row["mrr"], row["system"]))
    places = range(len(ordered))
    axes.barh(places, [row["mrr"] for row in ordered], color=[styles[row["system"]]["color"] for row in ordered])
    axes.errorbar(
        [row["mrr"] for row in ordered], places, xerr=_bars(ordered, "mrr"), fmt="none", ecolor="#222222", capsize=3
    )
    for place, row in zip(places, ordered, strict=True):
        axes.text(0.008, place, f"{row['mrr']:.3f}", va="center", color="white", fontweight="bold")
    axes.set_yticks(places, [readable(row) for row in ordered])
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="mean reciprocal rank", xlim=(0, 1))


def _bars(points: Sequence[Record], name: str) -> list[list[float]]:
    """Lengths of the interval below and above the value, as errorbar wants them."""
    low = "low" if "low" in points[0] else f"{name}_low"
    high = "high" if "high" in points[0] else f"{name}_high"
    return [[point[name] - point[low] for point in points], [point[high] - point[name] for point in points]]
