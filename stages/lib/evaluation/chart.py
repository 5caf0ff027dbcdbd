"""The bar chart of an evaluation: each measure a group, each system a bar with its 95% interval."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.lib.core.records import atomic_path

# Paul Tol's "muted" scheme, as in the retrieval benchmark; the first system is grey.
COLORS = ("#888888", "#332288", "#117733", "#CC6677")
ALPHA = 0.05


def draw(
    path: Path, table: Mapping[str, Mapping[str, Mapping[str, Any]]], names: Mapping[str, str], caption: str
) -> None:
    """Draws system -> measure -> row (of `comparison.compare_systems`) into a PNG, whole or not at all.

    Args:
        path: the PNG.
        table: the first system is the one that the others are compared with.
        names: measure -> its name for readers, in the order of the groups; those that no system has are left out.
        caption: what was measured on what.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [name for name in names if any(_known(rows, name) for rows in table.values())]
    height = 0.8 / len(table)
    style = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 10, "legend.frameon": False}
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=(9, 1.8 + 0.24 * len(shown) * (len(table) + 1)), layout="constrained")
        for place, (system, rows) in enumerate(table.items()):
            color = COLORS[place % len(COLORS)]
            for group, name in enumerate(shown):
                if not _known(rows, name):
                    continue
                row = rows[name]
                y = group + (place - (len(table) - 1) / 2) * height
                axes.barh(y, row["value"], height=0.88 * height, color=color, alpha=0.75)
                if row["low"] is not None:
                    axes.plot([row["low"], row["high"]], [y, y], color="black", linewidth=1)
                star = " *" if row.get("p_holm") is not None and row["p_holm"] < ALPHA else ""
                end = max(row["value"], row["high"] or 0)
                axes.text(end + 0.012, y, f"{row['value']:.2f}{star}", va="center", fontsize=8.5)
            axes.barh(0, 0, color=color, alpha=0.75, label=system)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(shown)), [names[name] for name in shown])
        axes.invert_yaxis()
        axes.set_xlim(right=1.12)
        first = next(iter(table))
        axes.set_xlabel(
            f"lines: 95% bootstrap intervals   * differs from {first} (paired randomization, Holm p < {ALPHA})"
        )
        figure.suptitle(caption, fontsize=11, x=0.01, ha="left")
        figure.legend(loc="outside lower center", ncols=len(table))
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=140, metadata={"Software": None})
        plt.close(figure)


def _known(rows: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    return name in rows and rows[name]["value"] is not None
