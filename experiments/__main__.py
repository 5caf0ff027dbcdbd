"""Runs a grid of DVC experiments, each in a clone of its own; what is killed is run again, and none is lost.

Run: python -m experiments [-j 2] [STAGE ...] -S pretrain.d_model=64,128 -S pretrain.lr=2.0e-3,4.0e-3

Finished is what has a ref under refs/exps, as every DVC experiment: `dvc exp show`, `apply` and `diff` know it. Started
again, the command runs what has none; there is no other state. An experiment runs the code and params of HEAD, whatever
is edited meanwhile, and shares DVC's cache and `.cache/`. Its log is `.cache/experiments/NAME.log`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from experiments.grid import Experiment, grid

PLACE = Path(".cache/experiments").absolute()
STOP = threading.Event()  # Ctrl-C: nothing more is started


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def finished(head: str) -> set[str]:
    """Names of the experiments that were started from a commit and have come to their end."""
    refs = f"refs/exps/{head[:2]}/{head[2:]}/"
    return {ref.removeprefix(refs) for ref in output("git", "for-each-ref", "--format=%(refname)", refs).splitlines()}


def remove_clones(experiment: Experiment) -> None:
    """Removes what an experiment ran in."""
    for clone in PLACE.glob(f"{experiment.name}.clone.*"):
        shutil.rmtree(clone, ignore_errors=True)


def attempt(experiment: Experiment, head: str, stages: Sequence[str], cache: str, log: Path) -> bool:
    """Runs an experiment once, in a clone that is thrown away; whether its ref was fetched into this repository."""
    clone = Path(tempfile.mkdtemp(prefix=f"{experiment.name}.clone.", dir=PLACE))
    ref = f"refs/exps/{head[:2]}/{head[2:]}/{experiment.name}"
    overrides = [word for override in experiment.overrides for word in ("-S", override)]
    environment = os.environ | {
        "LLMILL_CACHE": os.environ.get("LLMILL_CACHE", str(PLACE.parent)),
        "DVC_SITE_CACHE_DIR": str(clone / ".dvc/tmp/site"),
    }

    def run(*command: str, cwd: Path = clone) -> None:
        subprocess.run(command, cwd=cwd, env=environment, stdout=to, stderr=subprocess.STDOUT, check=True)

    with log.open("a") as to:
        try:
            run("git", "clone", "--quiet", "--shared", "--no-checkout", str(Path.cwd()), ".")
            run("git", "checkout", "--quiet", "-B", "grid", head)
            if (local := Path(".dvc/config.local")).exists():
                shutil.copy(local, clone / ".dvc")
            run("dvc", "cache", "dir", "--quiet", "--local", cache)
            run("dvc", "exp", "run", *stages, "--name", experiment.name, *overrides)
            run("git", "fetch", "--quiet", "--no-write-fetch-head", str(clone), f"{ref}:{ref}", cwd=Path.cwd())
        except subprocess.CalledProcessError as error:
            print(f"experiments: {error}", file=to)
            return False
        finally:
            remove_clones(experiment)  # a killed loop's `dvc exp run` may have written on for a while, too
    return True


def main() -> None:
    """Runs what of the grid is not finished, and says what failed and where its log is."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__.split("\n")[0])
    parser.add_argument("stages", nargs="*", help="what to run, with what it depends on; none: the whole graph")
    parser.add_argument("-S", dest="lists", action="append", required=True, metavar="KEY=VALUE,...", help="may repeat")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="experiments at once")
    parser.add_argument("--tries", type=int, default=3, help="of an experiment, before it counts as failed")
    arguments = parser.parse_args()
    experiments, head, cache = grid(arguments.lists), output("git", "rev-parse", "HEAD"), output("dvc", "cache", "dir")
    known = finished(head)
    todo = [experiment for experiment in experiments if experiment.name not in known]
    PLACE.mkdir(parents=True, exist_ok=True)
    for experiment in experiments:
        remove_clones(experiment)  # of a loop that was killed
    print(f"experiments: {len(experiments)} in the grid, {len(experiments) - len(todo)} finished before", flush=True)

    def run(experiment: Experiment) -> bool:
        log, start = PLACE / f"{experiment.name}.log", time.monotonic()
        for number in range(1, arguments.tries + 1):
            if not STOP.is_set() and attempt(experiment, head, arguments.stages, cache, log):
                print(f"{experiment.name}: done in {time.monotonic() - start:.0f} s, try {number}", flush=True)
                return True
        print(f"{experiment.name}: not done: {log.relative_to(Path.cwd())}", flush=True)
        return False

    with ThreadPoolExecutor(arguments.jobs) as pool:
        try:
            done = list(pool.map(run, todo))
        except KeyboardInterrupt:
            STOP.set()
            raise
    print(f"experiments: {len(todo)} run, {sum(done)} done, {len(todo) - sum(done)} not")
    if not all(done):
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"experiments: {error}")
    except KeyboardInterrupt:
        sys.exit("experiments: stopped; started again, it goes on")
