"""How the stages of the data half grow with their work, and what that says of sizes that this machine does not hold.

Run: python -m bench.scale [--scales 1 10 100] [--stages chunk embed] [--place DIR] [--save]

Scale 1 is what the default graph has. What does not depend on the size (imports, tokenizers) is measured on a hundredth
of it (from qa on a tenth) and taken off. How sizes are made and measured: stage_costs.py; exponents, workers, memory:
extrapolation.py.

--save writes bench/scale.csv and docs/scale.png; stages that were not measured in this run keep their rows.
--tables prints the tables of bench/scale.csv and draws the picture anew, and measures nothing.

With --place the folder is kept, and what it holds already (text, a stage's inputs, costs that were measured) is used
again: with the same code alone, since a changed encoder does not find its vectors in the ledger.
"""

import argparse
import csv
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.extrapolation import Target, exponents_table, growths, targets_table
from bench.scale_picture import draw
from bench.stage_costs import COMMANDS, ROOT, Cost, Grown, Stage, measure, start_of
from stages.lib.core.records import write_csv

SAVED = ROOT / "bench" / "scale.csv"
PICTURE = ROOT / "docs" / "scale.png"
CHARS_A_TOKEN = 4.5  # of English prose by GPT-2's BPE
CHARS_A_CHUNK = 480  # of the default's chunks of at most 700, without what neighbours share
OF_CHUNKS: tuple[Stage, ...] = tuple(stage for stage in COMMANDS if stage != "shard")
TARGETS = (
    Target(name="FineWeb-Edu, 10 B tokens", items={"shard": 10e9 * CHARS_A_TOKEN}),  # shard's items are bytes
    Target(name="1 M chunks", items=dict.fromkeys(OF_CHUNKS, 1e6)),
    Target(
        name="1 B tokens of documents",
        items={"shard": 1e9 * CHARS_A_TOKEN, **dict.fromkeys(OF_CHUNKS, 1e9 * CHARS_A_TOKEN / CHARS_A_CHUNK)},
    ),
    Target(name="10 M chunks", items=dict.fromkeys(OF_CHUNKS, 1e7)),
)


def rows(costs: Sequence[Cost]) -> list[dict[str, str | float]]:
    """As they stand in the CSV."""
    return [
        {
            "stage": cost.stage,
            "scale": cost.scale,
            "items": cost.items,
            "wall_s": round(cost.wall_s, 2),
            "cpu_s": round(cost.cpu_s, 2),
            "peak_mb": round(cost.peak_mb, 1),
            "parts": cost.parts,
        }
        for cost in costs
    ]


def read_saved(place: Path) -> list[Cost]:
    """The costs of a CSV."""
    with place.open(encoding="utf-8", newline="") as lines:
        return [
            Cost(
                stage=row["stage"],  # type: ignore[arg-type]  # one of COMMANDS
                scale=float(row["scale"]),
                items=int(float(row["items"])),
                wall_s=float(row["wall_s"]),
                cpu_s=float(row["cpu_s"]),
                peak_mb=float(row["peak_mb"]),
                parts=row["parts"],
            )
            for row in csv.DictReader(lines)
        ]


def merged(kept: Sequence[Cost], new: Sequence[Cost]) -> list[Cost]:
    """The new ones, and of stages that have none the kept ones; in the order of the graph."""
    fresh = {cost.stage for cost in new}
    together = [*(cost for cost in kept if cost.stage not in fresh), *new]
    return sorted(together, key=lambda cost: (list(COMMANDS).index(cost.stage), cost.scale))


def measured(scales: Sequence[float], stages: Sequence[Stage], place: Path) -> list[Cost]:
    """Runs the stages, and those before them, at each scale and at the start."""
    last = max(list(COMMANDS).index(stage) for stage in stages)
    needed = [stage for stage in list(COMMANDS)[: last + 1] if stage != "shard" or stage in stages]
    grown = Grown(place.resolve())
    grown.prepare()
    costs = [
        measure(stage, scale, grown.project(stage, scale))
        for scale in sorted({*map(start_of, needed), *scales})
        for stage in needed
        if scale >= start_of(stage)
    ]
    return [cost for cost in costs if cost.stage in stages]


def tables(costs: Sequence[Cost]) -> str:
    """Both tables, in Markdown."""
    found = growths(costs)
    return f"{exponents_table(found)}\n\n{targets_table(found, TARGETS)}"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", type=float, nargs="+", default=[1, 10, 100], help="of the default's size")
    parser.add_argument(
        "--stages", nargs="+", choices=COMMANDS, default=list(COMMANDS), help="those before them run too"
    )
    parser.add_argument("--place", type=Path, help="a folder that is kept; default: a temporary one")
    parser.add_argument("--save", action="store_true", help="write bench/scale.csv and docs/scale.png")
    parser.add_argument("--tables", action="store_true", help="of what is saved")
    args = parser.parse_args()
    if args.tables:
        costs = read_saved(SAVED)
    else:
        with ExitStack() as stack:
            place = args.place or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            costs = measured(args.scales, args.stages, place)
        if args.save:
            costs = merged(read_saved(SAVED) if SAVED.is_file() else [], costs)
            write_csv(SAVED, rows(costs))
    print(tables(costs))
    if args.save or args.tables:
        draw(growths(costs), PICTURE)


if __name__ == "__main__":
    main()
