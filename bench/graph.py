"""The graph's time by stage, as a stranger sees it: wall, CPU, peak memory, and how long nothing was told.

Run: python -m bench.graph [--isa avx2] [--neighbours 1] [--stages judge grpo] [--save]

A clone of this checkout (changes that are not committed included) runs `dvc repro` with an empty cache, or `dvc repro`
of some stages with those before them. The stages are watched from outside: their processes by psutil, their lines by
when they come. Beside each figure stands the baseline of bench/graph.csv for the same kind of machine, if it has one;
with --neighbours, other processes keep so many cores busy and the ratio to the quiet baseline is what a neighbour
costs. --isa avx2 keeps oneDNN, ATen and MKL from AVX-512 and AMX, where the machine has them.

- wall: from the first sight of a stage's process to the last, every 0.1 s.
- CPU: user and system seconds of the process and its children.
- peak: the most resident memory that the process and its children had together; shared pages count once a process.
- first: seconds until the stage's first line with a rate and an ETA; silence: the longest time without any output.
"""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import psutil

BASELINE = Path(__file__).parent / "graph.csv"
USUAL_SECONDS = Path(__file__).parent / "usual_seconds.json"  # stages/lib/core/stage_place.py reads it
INTERVAL = 0.1  # seconds between two looks at the processes
REPORTED = re.compile(rb"<\d+:\d\d|<\?|ETA")  # tqdm's `elapsed<remaining`
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
SPIN = "while True: pass"


@dataclass
class StageRun:
    """What was seen of one stage."""

    stage: str
    start: float
    end: float
    cpu: float = 0.0
    peak_mb: float = 0.0
    told: list[tuple[float, bool]] = field(default_factory=list)  # when something came, and whether with an ETA

    def row(self) -> dict[str, float | str]:
        """As it stands in the table."""
        inside = [self.start, *(at for at, _ in self.told), self.end]
        first = next((at - self.start for at, eta in self.told if eta), None)
        return {
            "stage": self.stage,
            "wall_s": round(self.end - self.start, 1),
            "cpu_s": round(self.cpu, 1),
            "peak_mb": round(self.peak_mb),
            "first_s": "" if first is None else round(first, 1),
            "silence_s": round(max(b - a for a, b in pairwise(inside)), 1),
        }


def stage_of(arguments: Sequence[str]) -> str | None:
    """ "rerank minilm-l6 smollm2-135m base" of a command line; None: no stage's process."""
    if "-m" not in arguments[:-1]:
        return None
    place = list(arguments).index("-m") + 1
    module = arguments[place]
    if not re.fullmatch(r"stages\.\w+", module):
        return None
    return " ".join([module.removeprefix("stages."), *arguments[place + 1 :]])


class Watch:
    """Looks at the processes below one of ours until it ends."""

    def __init__(self, root: psutil.Process) -> None:
        self.root = root
        self.runs: dict[int, StageRun] = {}  # by the process that runs the stage

    def look(self) -> None:
        """Takes one reading."""
        now = time.perf_counter()
        for process in self._below(self.root):
            try:
                known = self.runs.get(process.pid)
                if known is None:
                    stage = stage_of(process.cmdline())
                    parent = process.parent()
                    if stage is None or (parent is not None and parent.pid in self.runs):
                        continue
                    known = self.runs[process.pid] = StageRun(stage, now, now)
                family = [process, *self._below(process)]
                known.end = now
                known.cpu = max(known.cpu, sum(map(_cpu, family)))
                known.peak_mb = max(known.peak_mb, sum(member.memory_info().rss for member in family) / 1e6)
            except psutil.Error:  # it ended while we looked
                continue

    def hear(self, now: float, line: bytes) -> None:
        """Takes what was printed: the running stage's."""
        for run in self.runs.values():
            if run.end >= now - 2 * INTERVAL:
                run.told.append((now, bool(REPORTED.search(line))))

    @staticmethod
    def _below(process: psutil.Process) -> list[psutil.Process]:
        try:
            return process.children(recursive=True)
        except psutil.Error:
            return []


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def clone(checkout: Path, into: Path) -> None:
    """A checkout with its uncommitted changes (not with new files), without data, models and caches."""
    subprocess.run(["git", "clone", "--quiet", str(checkout), str(into)], check=True)
    changes = subprocess.run(["git", "diff", "--binary", "HEAD"], cwd=checkout, check=True, capture_output=True).stdout
    if changes:
        subprocess.run(["git", "apply", "-"], cwd=into, check=True, input=changes)


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Keeps `count` cores busy."""
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def run_graph(
    project: Path, stages: Sequence[str], environment: dict[str, str], log: Path
) -> tuple[list[StageRun], float]:
    """Runs `dvc repro` there; what was seen of each stage, and the seconds of the whole.

    Raises:
        subprocess.CalledProcessError: it failed; `log` has its output.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", *stages],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    watch = Watch(psutil.Process(process.pid))

    def listen() -> None:
        assert process.stdout is not None
        with log.open("wb", buffering=0) as file:
            while piece := os.read(process.stdout.fileno(), 1 << 16):
                file.write(piece)
                watch.hear(time.perf_counter(), piece)

    listener = threading.Thread(target=listen)
    listener.start()
    while process.poll() is None:
        watch.look()
        time.sleep(INTERVAL)
    listener.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return list(watch.runs.values()), time.perf_counter() - started


def machine(isa: str) -> str:
    """The kind of machine that a baseline holds for: cores and the widest units that are used."""
    flags = psutil.cpu_count(), isa if isa != "native" else _widest()
    return f"{flags[0]} cores, {flags[1]}"


def _widest() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    return next((name for name in ("amx", "avx512", "avx2") if name in text), "other")


def read_baseline(kind: str) -> dict[str, dict[str, str]]:
    """Stage -> its row of bench/graph.csv for that kind of machine."""
    if not BASELINE.is_file():
        return {}
    with BASELINE.open(encoding="utf-8", newline="") as file:
        return {row["stage"]: row for row in csv.DictReader(file) if row["machine"] == kind}


def save_baseline(kind: str, rows: Sequence[dict[str, float | str]]) -> None:
    """Puts the rows in the place of that machine's earlier ones."""
    others: list[dict[str, float | str]] = []
    if BASELINE.is_file():
        with BASELINE.open(encoding="utf-8", newline="") as file:
            others = [dict(row) for row in csv.DictReader(file) if row["machine"] != kind]
    with BASELINE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["machine", *rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows([*others, *({"machine": kind, **row} for row in rows)])


def save_usual_seconds(project: Path) -> None:
    """Keeps what each part of each stage took there, by which a stage tells its end where it has never run before."""
    found = {file.stem: json.loads(file.read_text())["parts"] for file in sorted((project / "timings").glob("*.json"))}
    USUAL_SECONDS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def table(rows: Sequence[dict[str, float | str]], baseline: dict[str, dict[str, str]]) -> str:
    """Markdown."""
    lines = [
        "| stage | wall s | baseline | ratio | CPU s | baseline | peak MB | baseline | first s | silence s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        known = baseline.get(str(row["stage"]), {})
        before = [known.get(name, "") for name in ("wall_s", "cpu_s", "peak_mb")]
        ratio = f"{float(row['wall_s']) / float(before[0]):.2f}" if before[0] and float(before[0]) else ""
        cells = [row["stage"], row["wall_s"], before[0], ratio, row["cpu_s"], before[1], row["peak_mb"], before[2]]
        lines.append("| " + " | ".join(map(str, [*cells, row["first_s"], row["silence_s"]])) + " |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", choices=["native", "avx2"], default="native")
    parser.add_argument("--neighbours", type=int, default=0, help="other processes, a busy core each")
    parser.add_argument("--stages", nargs="*", default=[], help="dvc.yaml's names, with what they need; default: all")
    parser.add_argument("--profile", default="", help="of profiles/")
    parser.add_argument("--place", type=Path, help="a new folder for the clone, which stays; default: a temporary one")
    parser.add_argument("--log", type=Path, help="where the graph's output goes; default: a temporary file")
    parser.add_argument("--save", action="store_true", help="as the baseline of this kind of machine")
    args = parser.parse_args()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment |= AVX2 if args.isa == "avx2" else {}
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        project = args.place or place / "project"
        clone(Path(__file__).resolve().parents[1], project)
        if args.profile:
            subprocess.run([sys.executable, "-m", "profiles", args.profile], cwd=project, env=environment, check=True)
        stack.enter_context(neighbours(args.neighbours))
        log = args.log or place / "log"
        try:
            runs, seconds = run_graph(project, args.stages, environment, log)
        except subprocess.CalledProcessError:
            sys.exit(log.read_text(encoding="utf-8", errors="replace")[-3000:])
        if args.save and not args.stages:
            save_usual_seconds(project)
    rows = [run.row() for run in runs]
    told = {"cpu_s": round(sum(run.cpu for run in runs), 1), "peak_mb": round(max(run.peak_mb for run in runs))}
    silence = max(float(row["silence_s"]) for row in rows)
    rows.append({"stage": "dvc repro", "wall_s": round(seconds, 1), **told, "first_s": "", "silence_s": silence})
    kind = machine(args.isa)
    print(f"{kind}; load of the machine at the end {os.getloadavg()[0]:.1f}; {args.neighbours} busy neighbours")
    print(table(rows, read_baseline(kind)))
    if args.save:
        save_baseline(kind, rows)


if __name__ == "__main__":
    main()
