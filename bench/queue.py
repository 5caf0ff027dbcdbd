"""What becomes of 40 queued experiments when workers and tasks are killed: DVC's queue, and `python -m experiments`.

Run: python -m bench.queue [--by queue grid temp] [--experiments 40] [--jobs 4] [--kills 12] [--seed 0]

Each way runs the same experiments in a made repository of one stage that takes 1 to 4 seconds. Every 2 to 6 seconds a
process is killed with `kill -9`, drawn by the seed: a worker (queue: a worker of DVC's; grid, temp: the loop itself), a
task (`dvc exp exec-run`, `dvc exp run`) or the stage. What is gone is started again, as a person would: `dvc queue
start`, or the loop, until nothing moves any more. temp is the plain loop, `xargs -P 4` over `dvc exp run --temp`.
Then each experiment is looked up:

- done: its commit under refs/exps has the right result; wrong: another one.
- failed: `dvc queue status` says so (of a loop: it is not done), with a log that is not empty, or without.
- queued: still waiting. running: `dvc queue status` says so of one that no process runs any more.
- lost: none of all this.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
WAYS = ("queue", "grid", "temp")
OUTCOMES = ("done", "wrong", "failed, log", "failed, no log", "queued", "running", "lost")
KINDS = {"worker": ("queue-worker", "experiments", "xargs"), "task": ("exec-run", "run"), "stage": ("stage.py",)}
RESTARTS_IN_VAIN = 3  # after which what is left is taken to stay
LOOKS_IN_VAIN = 60  # likewise, where processes are there and nothing moves: four minutes
STAGE = """import json, time
x = int(open("params.yaml").read().split(":")[1])
time.sleep(1 + x * 7 % 31 / 10)
print("the square of", x)
json.dump({"square": x * x}, open("metrics.json", "w"))
"""
GRAPH = """stages:
  square:
    cmd: python stage.py
    deps: [stage.py]
    params: [x]
    metrics: [metrics.json: {cache: false}]
"""


@dataclass
class Project:
    """A made repository in which one way runs its experiments."""

    place: Path
    way: str
    experiments: int
    jobs: int

    def make(self) -> None:
        """Writes and commits its only stage; with DVC's queue, puts the experiments into it."""
        self.place.mkdir()
        (self.place / "stage.py").write_text(STAGE)
        (self.place / "dvc.yaml").write_text(GRAPH)
        (self.place / "params.yaml").write_text("x: 0\n")
        self.run("git", "init", "--quiet")
        self.run("dvc", "init", "--quiet")
        (self.place / ".gitignore").write_text("/.cache/\n")
        self.run("git", "config", "user.name", "bench")
        self.run("git", "config", "user.email", "bench@localhost")
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "A stage")
        if self.way == "queue":
            self.run("dvc", "exp", "run", "--queue", "--name", "x", "-S", f"x=range(1,{self.experiments + 1})")

    @property
    def names(self) -> dict[str, int]:
        """The experiments, and the value of each."""
        between = "=" if self.way == "grid" else "-"
        return {f"x{between}{x}": x for x in range(1, self.experiments + 1)}

    def environment(self) -> dict[str, str]:
        """With our commands on the path of python."""
        return os.environ | {"PYTHONPATH": str(ROOT), "GIT_TERMINAL_PROMPT": "0"}

    def run(self, *command: str, check: bool = True) -> str:
        """What a command prints."""
        done = subprocess.run(
            command, cwd=self.place, env=self.environment(), capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise ValueError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> None:
        """Starts what runs the experiments: again, if it has ended or was killed."""
        if self.way == "queue":
            # Workers keep what they are given as stdout: a pipe would be open until they end.
            nowhere, command = subprocess.DEVNULL, ["dvc", "queue", "start", "-j", str(self.jobs)]
            subprocess.run(command, cwd=self.place, env=self.environment(), stdout=nowhere, stderr=nowhere, check=False)
            return
        if self.processes("worker"):
            return
        missing = self.names.keys() - self.done()
        values = sorted(self.names[name] for name in missing)
        log = (self.place / ".git/loop.log").open("a")
        if self.way == "grid":
            listed = ",".join(map(str, self.names.values()))
            command = [sys.executable, "-m", "experiments", "-j", str(self.jobs), "-S", f"x={listed}"]
        else:
            (self.place / ".git/values").write_text("".join(f"{x}\n" for x in values))
            each = "dvc exp run --temp --name x-{} -S x={} >> .git/x-{}.log 2>&1"
            command = ["xargs", "-a", ".git/values", "-P", str(self.jobs), "-I{}", "sh", "-c", each]
        subprocess.Popen(command, cwd=self.place, env=self.environment(), stdout=log, stderr=log)

    def processes(self, kind: str = "") -> list[psutil.Process]:
        """Those that work on the experiments."""
        found = []
        for process in psutil.process_iter():
            try:
                words, inside = process.cmdline(), Path(process.cwd()).is_relative_to(self.place)
                alive = process.status() != psutil.STATUS_ZOMBIE
            except psutil.Error:
                continue
            if inside and alive and kind_of(words) not in ("", None) and kind in ("", kind_of(words)):
                found.append(process)
        return found

    def refs(self) -> dict[str, str]:
        """The experiments that have come to their end, each with its commit."""
        listed = self.run("git", "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps")
        refs = (line.split() for line in listed.splitlines())
        return {ref.rpartition("/")[2]: commit for ref, commit in refs if re.fullmatch(r"x[-=]\d+", ref.split("/")[-1])}

    def done(self) -> set[str]:
        """Names of the same."""
        return set(self.refs())

    def waiting(self) -> int:
        """Experiments that nobody has begun, as far as is known without asking DVC; of a loop, that are not done."""
        if self.way == "queue":
            return len(list((self.place / ".dvc/tmp/exps/celery/broker/in").glob("*.celery.msg")))
        return self.experiments - len(self.done())

    def outcomes(self) -> dict[str, str]:
        """What became of each."""
        refs, found = self.refs(), {}
        status: dict[str, str] = {}
        if self.way == "queue":
            for line in self.run("dvc", "queue", "status").splitlines():
                if match := re.match(r"[0-9a-f]{7}\s+(x-\d+)\s.*?(\w+)\s*$", line):
                    status[match[1]] = match[2]
        for name, x in self.names.items():
            if name in refs:
                result = json.loads(self.run("git", "show", f"{refs[name]}:metrics.json"))
                found[name] = "done" if result == {"square": x * x} else "wrong"
            elif self.way != "queue" or status.get(name) == "Failed":
                found[name] = "failed, log" if self.log(name) else "failed, no log"
            else:
                found[name] = {"Queued": "queued", "Running": "running"}.get(status.get(name, ""), "lost")
        return found

    def log(self, name: str) -> str:
        """What is there to read about an experiment."""
        if self.way == "queue":
            return self.run("dvc", "queue", "logs", name, check=False)
        file = self.place / (f".cache/experiments/{name}.log" if self.way == "grid" else f".git/{name}.log")
        return file.read_text() if file.exists() else ""


def kind_of(words: list[str]) -> str:
    """worker, task or stage; empty: none of them."""
    if "exp" not in words and "stage.py" not in words and not {"experiments", "xargs"} & set(words):
        return ""
    return next((kind for kind, marks in KINDS.items() if set(marks) & set(words)), "")


def drive(project: Project, kills: int, seed: int, say: Callable[[str], None]) -> Counter[str]:
    """Runs, kills and starts again until all is done or nothing moves; returns how many of each kind died."""
    draw, killed = random.Random(seed), Counter[str]()
    looks, restarts, before = 0, 0, (-1, -1)  # in vain, since so many were waiting and done
    project.start()
    while restarts < RESTARTS_IN_VAIN and looks < LOOKS_IN_VAIN:
        time.sleep(draw.uniform(2, 6))
        by_kind = {kind: project.processes(kind) for kind in KINDS}
        alive = {kind: found for kind, found in by_kind.items() if found}
        if alive and killed.total() < kills:
            kind = draw.choice(sorted(alive))
            victim = draw.choice(alive[kind])
            try:
                victim.kill()
                killed[kind] += 1
                say(f"killed a {kind}, {len(project.done())} done")
            except psutil.NoSuchProcess:
                pass
        workers, waiting, done = len(project.processes("worker")), project.waiting(), len(project.done())
        if done == project.experiments or not (alive or waiting):
            break
        if before != (waiting, done):
            looks, restarts, before = 0, 0, (waiting, done)
        looks += 1
        if waiting and workers < (project.jobs if project.way == "queue" else 1):
            restarts += not alive
            project.start()
    return killed


def measured(way: str, experiments: int, jobs: int, kills: int, seed: int) -> dict[str, int]:
    """The row of one way."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        project = Project(Path(folder).resolve() / "project", way, experiments, jobs)
        project.make()
        start = time.monotonic()
        try:
            killed = drive(project, kills, seed, lambda text: print(f"{way}: {text}", file=sys.stderr, flush=True))
            seconds = round(time.monotonic() - start)
            counts = Counter(project.outcomes().values())
        finally:
            for process in project.processes():
                process.kill()
        dirty = project.run("git", "status", "--porcelain").strip()
        branch = project.run("git", "branch", "--show-current").strip()
        if dirty or not branch:
            print(f"{way}: the checkout was left {'changed' if dirty else ''} {'' if branch else 'without a branch'}")
        died = {f"killed {kind}s": killed[kind] for kind in KINDS}
        return died | {outcome: counts[outcome] for outcome in OUTCOMES} | {"seconds": seconds}


def main() -> None:
    """Prints a row a way."""
    parser = argparse.ArgumentParser(prog="python -m bench.queue", description=__doc__.split("\n")[0])
    parser.add_argument("--by", nargs="+", choices=WAYS, default=["queue", "grid"])
    parser.add_argument("--experiments", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for i, way in enumerate(arguments.by):
        row = measured(way, arguments.experiments, arguments.jobs, arguments.kills, arguments.seed)
        if i == 0:
            print(f"| by | {' | '.join(row)} |\n|{'---|' * (len(row) + 1)}")
        print(f"| {way} | {' | '.join(map(str, row.values()))} |", flush=True)


if __name__ == "__main__":
    main()
