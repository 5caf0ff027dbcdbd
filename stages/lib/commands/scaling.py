"""Pretrainings side by side: their loss over compute and over the learning rate, as tables and a picture.

Run: python -m stages.lib.commands.scaling [--rev HEAD | --all] [--only NAME] [--save FILE.csv] [--picture FILE.png]
     python -m stages.lib.commands.scaling --from docs/scaling.csv

The runs are DVC experiments (docs/scaling.md has grids to start), or the rows of a file that --save wrote.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from stages.lib.core.metrics import check_counts, ending
from stages.lib.scaling.experiments import gather
from stages.lib.scaling.fit import sweeps
from stages.lib.scaling.picture import draw
from stages.lib.scaling.report import report
from stages.lib.scaling.runs import check_comparable, one_of_each, read_runs, write_runs

PICTURE = Path("dvc_plots/scaling.png")  # git-ignored, and no stage's output


def main() -> None:
    """Reads the command line, prints the tables, writes the picture and, if asked, the runs."""
    parser = argparse.ArgumentParser(prog="python -m stages.lib.commands.scaling", description=__doc__.split("\n")[0])
    parser.add_argument("--from", type=Path, dest="file", help="a CSV file that --save wrote, instead of experiments")
    parser.add_argument("--rev", default="HEAD", help="the commit that the experiments were started from")
    parser.add_argument("--all", action="store_true", help="experiments started from any commit")
    parser.add_argument("--only", default="", help="a regular expression that the experiments' names begin with")
    parser.add_argument("--save", type=Path, help="write the runs to this CSV file")
    parser.add_argument("--picture", type=Path, default=PICTURE, help=f"default: {PICTURE}")
    arguments = parser.parse_args()
    if arguments.file:
        where, (gathered, left_out) = str(arguments.file), (read_runs(arguments.file), Counter[str]())
    else:
        where = "experiments" if arguments.all else f"experiments of {arguments.rev}"
        gathered, left_out = gather(None if arguments.all else arguments.rev, arguments.only)
    runs = one_of_each(gathered)
    left_out["repeated"] = len(gathered) - len(runs)
    counts = check_counts(len(runs) + left_out.total(), len(runs), left_out)
    if not runs:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
        raise ValueError(f"{where}: no pretraining that came to its end{f' (left out: {reasons})' if reasons else ''}")
    check_comparable(runs, where)
    if arguments.save:
        write_runs(arguments.save, runs)
    found = sweeps(runs)
    print(report(found))
    draw(found, arguments.picture)
    print("\n" + ending("scaling", counts, "runs", f"{len(found)} setups", arguments.picture))


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"scaling: {error}")
