"""The picture of a retrieval benchmark: accuracy over k, accuracy over dimension, MRR with intervals.

The bytes depend on the numbers alone: no date, no version of matplotlib in the file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.lib.core.records import Record, atomic_path

# Paul Tol's "muted" scheme (SRON/EPS/TN/09-002), told apart with any colour vision; markers say it again.
COLORS = ("#332288", "#CC6677", "#117733", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499", "#DDCC77")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
BASELINE = {"color": "#555555", "marker": ".", "linestyle": "--"}
MOST_SYSTEMS = 10  # drawn, the baseline among them; the CSV has all
STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
}
LINE = {"capsize": 0, "elinewidth": 1.0, "markersize": 5.5, "linewidth": 1.5}


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
        caption += (
            f"\nDrawn: {len(shown)} of {len(full)} systems, each embedding with its best instruction; the CSV has all"
        )
    heights = [4.3, 1.0 + 0.3 * len(shown)]  # inches
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(11, sum(heights) + 0.7), layout="constrained")
        figure.suptitle(f"Which system finds the chunk that answers?\n{caption}", fontsize=12, x=0.01, ha="left")
        # Two sub-figures, so that the long names below take no room from the panels above.
        above, below = figure.subfigures(2, 1, height_ratios=heights)
        left, right = above.subplots(1, 2)
        _draw_over_k(left, over_k, styles)
        _draw_over_dimension(right, over_dimension, styles, headline_k)
        _draw_mrr(below.subplots(), [row for row in full if row["system"] in styles], styles)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=140, metadata={"Software": None})
        plt.close(figure)


def shown_systems(full: Sequence[Record]) -> list[str]:
    """The systems to draw, by descending MRR: all where they fit.

    Otherwise the baseline, the first dense system (which all are compared with), and each embedding
    with the instruction that serves its dense row best (the caption says so: it is chosen on these very
    questions); of these, dense rows before others and the best before the rest, as many as fit.
    """
    by_mrr = sorted(full, key=lambda row: (-row["mrr"], row["system"]))
    if len(full) > MOST_SYSTEMS:
        reference = next(row for row in full if row["method"] == "dense")
        best = {row["embedding"]: row["instruction"] for row in reversed(by_mrr) if row["method"] == "dense"}
        kept = [row for row in by_mrr if row["method"] != "bm25" and best[row["embedding"]] == row["instruction"]]
        kept.sort(key=lambda row: row["method"] != "dense")
        always = [row for row in full if row["method"] == "bm25" or row is reference]
        others = [row for row in kept if row is not reference]
        names = {row["system"] for row in (always + others)[:MOST_SYSTEMS]}
        by_mrr = [row for row in by_mrr if row["system"] in names]
    return [row["system"] for row in by_mrr]


def readable(row: Record) -> str:
    """A system's name for a legend."""
    if row["method"] == "bm25":
        return "BM25"
    dense = _dense_name(f"{row['embedding']}_{row['instruction']}")
    return {"dense": dense, "reranked": f"{dense}, reranked by {row['reranker']}", "fused": f"{dense} + BM25 (RRF)"}[
        row["method"]
    ]


def _dense_name(system: str) -> str:
    """The name for readers of a dense system EMBEDDING_INSTRUCTION."""
    embedding, _, instruction = system.partition("_")
    return f"{embedding} ({instruction})"


def _styles(shown: Sequence[str]) -> dict[str, dict[str, str]]:
    """Colour and marker of each system, in the order of `shown`; the baseline is grey and dashed."""
    others = [name for name in shown if name != "bm25"]
    return {name: BASELINE if name == "bm25" else _style(others.index(name)) for name in shown}


def _style(place: int) -> dict[str, str]:
    return {"color": COLORS[place % len(COLORS)], "marker": MARKERS[place % len(MARKERS)], "linestyle": "-"}


def _draw_over_k(axes: Any, over_k: Sequence[Record], styles: dict[str, dict[str, str]]) -> None:
    lines = {name: [row for row in over_k if row["system"] == name] for name in styles}
    _draw_lines(axes, lines, "k", styles)
    axes.set(xlabel="k", ylabel="accuracy@k", title="A right chunk among the first k (colours as below)")


def _draw_over_dimension(
    axes: Any, over_dimension: Sequence[Record], styles: dict[str, dict[str, str]], headline_k: int
) -> None:
    names = list(dict.fromkeys(row["system"] for row in over_dimension))
    others = [name for name in names if name not in styles]  # other instructions of the models that are drawn
    if len(styles) + len(others) <= MOST_SYSTEMS:
        styles = styles | {name: _style(len(styles) - 1 + place) for place, name in enumerate(others)}
    lines = {name: [row for row in over_dimension if row["system"] == name] for name in names if name in styles}
    _draw_lines(axes, lines, "dimension", styles)
    axes.set(xlabel="dimensions kept", ylabel=f"accuracy@{headline_k}", title="Vectors cut short (Matryoshka)")
    # Accuracy grows to the right: whichever of these two corners the curves leave free.
    mean = sum(row["accuracy"] for row in over_dimension) / len(over_dimension)
    axes.legend(fontsize=9, loc="lower right" if mean > 0.35 else "upper left")


def _draw_lines(axes: Any, lines: dict[str, list[Record]], x: str, styles: dict[str, dict[str, str]]) -> None:
    """Accuracy over x with intervals; the x stand at equal distances, the systems side by side around them."""
    ticks = sorted({row[x] for points in lines.values() for row in points})
    for place, (name, points) in enumerate(lines.items()):
        shift = (place - (len(lines) - 1) / 2) * 0.6 / len(lines)
        places = [ticks.index(row[x]) + shift for row in points]
        bars = axes.errorbar(
            places,
            [row["accuracy"] for row in points],
            yerr=_bars(points),
            label=_dense_name(name),
            **LINE,
            **styles[name],
        )
        for interval in bars.lines[2]:
            interval.set_alpha(0.45)
    axes.set_xticks(range(len(ticks)), [str(tick) for tick in ticks])
    axes.set_ylim(0, 1.02)


def _draw_mrr(axes: Any, rows: Sequence[Record], styles: dict[str, dict[str, str]]) -> None:
    """MRR of each system with its interval, the best on top; the names are the legend of the colours."""
    ordered = sorted(rows, key=lambda row: (row["mrr"], row["system"]))
    for place, row in enumerate(ordered):
        style = styles[row["system"]]
        axes.barh(place, row["mrr"], height=0.62, color=style["color"], alpha=0.3)
        interval = _bars([row], "mrr")
        axes.errorbar(
            row["mrr"], place, xerr=interval, color=style["color"], marker=style["marker"], markersize=7, capsize=3
        )
        star = " *" if row["compared_with"] and row["p_holm"] < 0.05 else ""
        axes.text(row["mrr_high"] + 0.012, place, f"{row['mrr']:.3f}{star}", va="center")
    axes.set_yticks(range(len(ordered)), [readable(row) for row in ordered])
    axes.grid(visible=False, axis="y")
    compared_with = next(row["compared_with"] for row in ordered if row["compared_with"])
    label = f"MRR   (* differs from {_dense_name(compared_with)}: paired randomization test, Holm-corrected p < 0.05)"
    axes.set(xlabel=label, title="Mean reciprocal rank of the first right chunk", xlim=(0, 1.06))
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])


def _bars(points: Sequence[Record], name: str = "") -> list[list[float]]:
    """Lengths of the interval below and above the value, (2, points): what errorbar wants."""
    value, low, high = (name, f"{name}_low", f"{name}_high") if name else ("accuracy", "low", "high")
    return [[point[value] - point[low] for point in points], [point[high] - point[value] for point in points]]
