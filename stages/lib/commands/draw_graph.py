"""Draws the graph of dvc.yaml: one box a stage, an arrow where a stage reads what another writes.

Stages stand in columns by the longest way from a source. A looped stage (`matrix`) is a stack of boxes, one per model.
An arrow is left out where a longer way says the same, and a stage that nothing joins to another (as `base`, while
gguf.model is no base).

Run: python -m stages.lib.commands.draw_graph docs/graph.png
"""

import argparse
import re
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from stages.lib.core.params import PARAMS_FILE, read_yaml

Edges = dict[str, set[str]]  # stage -> the stages that it reads from


def paths(body: Mapping[str, Any], kind: str, params: Mapping[str, Any]) -> list[str]:
    """The paths under `deps` or `outs` of a stage; params filled in, what a loop varies as `*`."""
    entries = [entry if isinstance(entry, str) else next(iter(entry)) for entry in body.get(kind, [])]
    return [re.sub(r"\$\{([\w.-]+)\}", lambda match: _value(match.group(1), params), entry) for entry in entries]


def _value(name: str, params: Mapping[str, Any]) -> str:
    if name.startswith("item."):
        return "*"
    found: Any = params
    for key in name.split("."):
        found = found[key]
    return str(found)


def edges(stages: Mapping[str, Any], params: Mapping[str, Any]) -> Edges:
    """Which stages each one reads from, without those that another of them reads from anyway."""
    outs = {name: paths(body, "outs", params) for name, body in stages.items()}
    deps = {name: paths(body, "deps", params) for name, body in stages.items()}
    direct = {
        name: {other for other in stages if other != name and any(_meet(d, o) for d in deps[name] for o in outs[other])}
        for name in stages
    }
    return {
        name: {one for one in parents if not any(one in above(other, direct) for other in parents - {one})}
        for name, parents in direct.items()
    }


def _meet(dep: str, out: str) -> bool:
    """Whether they are one path, or one is a folder above the other."""
    return any(fnmatch(a, b) or fnmatch(a, f"{b}/*") for a, b in ((dep, out), (out, dep)))


def above(stage: str, parents: Edges) -> set[str]:
    """All stages that a stage reads from, directly or not."""
    return set().union(*({parent} | above(parent, parents) for parent in parents[stage]), set())


def places(parents: Edges) -> dict[str, tuple[int, int]]:
    """(column, row) of each joined stage: right of all that it reads from, in the row of the last of these if free."""
    joined = set(parents) - {name for name in parents if not parents[name]} | set().union(*parents.values())
    column: dict[str, int] = {}
    for name in sorted(joined, key=lambda stage: len(above(stage, parents))):
        column[name] = max((column[parent] + 1 for parent in parents[name]), default=0)
    found: dict[str, tuple[int, int]] = {}
    for name in (stage for stage in parents if stage in joined):
        row = max((found[p] for p in parents[name] if p in found), default=None)
        free = row[1] if row else 0
        while (column[name], free) in found.values():
            free += 1
        found[name] = (column[name], free)
    return found


def draw(file: Path, stages: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Writes the picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import FancyBboxPatch

    parents = edges(stages, params)
    place = places(parents)
    columns, rows = (max(at[axis] for at in place.values()) + 1 for axis in (0, 1))
    figure, axes = pyplot.subplots(figsize=(1.3 * columns, 0.9 * rows), dpi=110)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.axis("off")
    half = (0.4, 0.23)  # of a box
    for name, (x, y) in place.items():
        for parent in sorted(parents[name]):
            axes.annotate(
                "",
                xy=(x - half[0] - 0.02, y),
                xytext=(place[parent][0] + half[0] + 0.02, place[parent][1]),
                arrowprops={"arrowstyle": "-|>", "color": "#555555", "lw": 1.2, "shrinkA": 0, "shrinkB": 0},
            )
    for name, (x, y) in place.items():
        looped = "matrix" in stages[name]
        for shift in (0.07, 0.035, 0.0) if looped else (0.0,):
            corner = (x - half[0] + shift, y - half[1] - shift)
            box = FancyBboxPatch(
                corner, 2 * half[0], 2 * half[1], boxstyle="round,pad=0,rounding_size=0.06", fc="#e8f0fa", ec="#33557f"
            )
            axes.add_patch(box)
        axes.text(x, y - 0.05, name, ha="center", va="center", fontsize=11, fontweight="bold")
        first = stages[name]["outs"][0]
        folder = "/".join(re.sub(r"\$\{[^}]*\}", "...", first).split("/")[:2])
        size = 7.5 if len(folder) < 19 else 7
        axes.text(x, y + 0.13, folder, ha="center", va="center", fontsize=size, color="#444444")
    figure.subplots_adjust(0, 0, 1, 1)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Software": ""})
    pyplot.close(figure)


def main() -> None:
    """Draws the project's graph."""
    parser = argparse.ArgumentParser(prog="python -m stages.lib.commands.draw_graph", description=__doc__)
    parser.add_argument("file", type=Path, help="the picture to write, .png or .svg")
    draw(parser.parse_args().file, read_yaml(Path("dvc.yaml"))["stages"], read_yaml(PARAMS_FILE))


if __name__ == "__main__":
    main()
