"""How a stage's time and memory grow with its work: chunk, shard, near_pairs, dedup, embed, benchmark.

Run: python -m bench.costs [--scales 1 10 100] [--stages chunk embed] [--place DIR] [--save]

Each stage runs as `python -m stages.NAME`, in a project folder a scale, on text grown from the default's
(grown_text.py) and, in the place of what models would take hours to compute, on filled ledgers (grown_inputs.py).
Scale 1 is what the default graph has. What does not depend on the size (imports, tokenizers) is measured on START of
it and taken off; exponents are the slopes of a least-squares line through log(cost - start) over log(items), of those
scales at which the cost is told apart from the start: in CPU seconds, as wall time is noise where others use the
machine.

- CPU: user and system seconds of the process and of those that it waited for (shard's workers).
- peak: the most resident memory of one process, by the kernel's count (ru_maxrss): the stage's own or its largest
  child's. Pages of mapped files count while they are mapped, though the kernel may take them back.

With --place the folder is kept, and what it holds already (text, a stage's inputs, costs that were measured) is used
again: with the same code alone, since a changed encoder does not find its vectors in the ledger.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from stages.lib.core.records import read_json, write_csv, write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
SAVED = ROOT / "docs" / "costs.csv"
START = 0.01  # of the default's size
REPEATS = 3  # of the runs at most as large as the default's; the least counts
LEAST_CPU, LEAST_MB = 0.2, 10.0  # above the start, below which a cost is not told apart from it
EMBEDDING = "minilm-l6"
Stage = Literal["chunk", "shard", "near_pairs", "dedup", "embed", "benchmark"]
COMMANDS: dict[Stage, list[str]] = {
    "chunk": ["chunk"],
    "shard": ["shard"],
    "near_pairs": ["near_pairs", EMBEDDING],
    "dedup": ["dedup"],
    "embed": ["embed", EMBEDDING],
    "benchmark": ["benchmark"],
}
BEFORE: dict[Stage, tuple[str, ...]] = {  # steps of grown_inputs that a stage's inputs take
    "chunk": (),
    "shard": (),
    "near_pairs": ("questions", "vectors"),
    "dedup": ("verdicts",),
    "embed": (),
    "benchmark": ("reranking",),
}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one run."""

    stage: Stage
    scale: float
    items: int  # chunks; of shard tokens
    wall_s: float
    cpu_s: float
    peak_mb: float
    parts: str = ""  # wall seconds, by the stage's own watch


def run(arguments: Sequence[str], project: Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and the peak in MB of `python -m ARGUMENTS` there.

    This process has to be small: a child's peak begins with what its parent holds when it starts it.

    Raises:
        SystemExit: it failed; shows the end of what it printed.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("LLMILL_CACHE", None)
    log = project / "log"
    with log.open("wb") as out:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=project, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(arguments)} in {project}:\n{log.read_text(errors='replace')[-3000:]}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


class Grown:
    """The project folders."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.real = place / "real.jsonl"
        self.sizes = place / "sizes.json"

    def prepare(self) -> None:
        """Gathers the real text and the default's sizes, where they are not there from an earlier run."""
        if not self.sizes.is_file():
            self._script(f"write_real(Path({str(self.real)!r}))")
            made = "{stage: default_size(stage) for stage in ('chunk', 'shard')}"
            self._script(f"Path({str(self.sizes)!r}).write_text(__import__('json').dumps({made}))")

    def project(self, stage: Stage, scale: float) -> Path:
        """The folder of a scale, its text written; shard has its own, for the default shards more than it chunks."""
        kind = "shard" if stage == "shard" else "chunk"
        project = self.place / f"{kind}_{scale:g}"
        if not (project / "params.yaml").is_file():
            documents = project / "documents" / "grown.jsonl"
            size = scale * read_json(self.sizes)[kind]
            self._script(f"print(write_grown(Path({str(self.real)!r}), Path({str(documents)!r}), {size}))", project)
            share = float((project / "log").read_text())
            print(f"{kind} x{scale:g}: {size / 1e6:.2f} M characters, {share:.0%} real text", flush=True)
            shutil.copy(ROOT / "prompts.yaml", project)
            params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
            for name in ("chunk", "shard"):
                params[name]["sources"] = [{"kind": "files", "patterns": ["documents/grown.jsonl"]}]
            models = project / ".cache" / "models"  # what is made of the judge's weights is made once
            models.parent.mkdir()
            (self.place / "models").mkdir(exist_ok=True)
            models.symlink_to(self.place / "models")
            write_text(project / "params.yaml", yaml.safe_dump(params, sort_keys=False))
        return project

    def _script(self, line: str, project: Path | None = None) -> None:
        """Runs a line over grown_text in a process of its own, so that this one stays small."""
        (project or self.place).mkdir(parents=True, exist_ok=True)
        run_line = f"from pathlib import Path; from bench.grown_text import *; {line}"
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with ((project or self.place) / "log").open("w") as out:
            subprocess.run([sys.executable, "-c", run_line], check=True, env=environment, stdout=out)


def measure(stage: Stage, scale: float, project: Path) -> Cost:
    """Runs a stage, and before it what makes its inputs; what was measured in that folder is not measured again."""
    kept = project / f"cost_{stage}.json"
    if kept.is_file():
        return Cost(**read_json(kept))
    for step in BEFORE[stage]:
        done = project / f".{step}"
        if not done.exists():
            run(["bench.grown_inputs", step], project)
            done.touch()
            if told := (project / "log").read_text().strip():
                print(f"{stage} x{scale:g}: {told}", flush=True)
    runs = [
        run([f"stages.{COMMANDS[stage][0]}", *COMMANDS[stage][1:]], project)
        for _ in range(REPEATS if scale <= 1 else 1)
    ]
    wall, cpu, peak = (min(figures) for figures in zip(*runs, strict=True))
    timing = read_json(project / "timings" / f"{'_'.join(COMMANDS[stage])}.json")
    parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in timing["parts"].items())
    items = read_json(project / "metrics" / ("shard.json" if stage == "shard" else "chunk.json"))
    count = items["shard"]["tokens"] if stage == "shard" else items["chunk"]["chunks"]
    cost = Cost(stage=stage, scale=scale, items=count, wall_s=wall, cpu_s=cpu, peak_mb=peak, parts=parts)
    write_json(kept, asdict(cost))
    print(f"{stage} x{scale:g}: {count:,} items, {wall:.1f} s, CPU {cpu:.1f} s, {peak:.0f} MB; {parts}", flush=True)
    return cost


def exponent(items: Sequence[int], costs: Sequence[float], start: float, least: float) -> float | None:
    """The slope of log(cost - start) over log(items), where cost - start is above `least`; None below two points."""
    points = [(count, cost - start) for count, cost in zip(items, costs, strict=True) if cost - start > least]
    if len(points) < 2:
        return None
    x, y = np.log(np.array(points, dtype=np.float64)).T
    return float(np.polyfit(x, y, 1)[0])


def table(costs: Sequence[Cost]) -> str:
    """Markdown: a line a stage, from the runs of all scales and that of the start."""
    scales = sorted({cost.scale for cost in costs if cost.scale != START})
    heads = [f"x{scale:g}: CPU s, MB" for scale in scales]
    lines = [
        f"| stage | start: CPU s, MB | {' | '.join(heads)} | exponent of time | of memory |",
        "|---|---|" + "---|" * len(scales) + "---|---|",
    ]
    for stage in dict.fromkeys(cost.stage for cost in costs):
        by_scale = {cost.scale: cost for cost in costs if cost.stage == stage}
        start = by_scale.pop(START)
        grown = [by_scale[scale] for scale in sorted(by_scale)]
        items = [cost.items for cost in grown]
        slopes = (
            exponent(items, [cost.cpu_s for cost in grown], start.cpu_s, LEAST_CPU),
            exponent(items, [cost.peak_mb for cost in grown], start.peak_mb, LEAST_MB),
        )
        cells = [f"{cost.cpu_s:.1f}, {cost.peak_mb:.0f}" for cost in (start, *grown)]
        cells += ["flat" if slope is None else f"{slope:.2f}" for slope in slopes]
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    return "\n".join(lines)


def save(costs: Sequence[Cost]) -> None:
    """Writes docs/costs.csv."""
    rows = [
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
    write_csv(SAVED, rows)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", type=float, nargs="+", default=[1, 10, 100], help="of the default's size")
    parser.add_argument(
        "--stages", nargs="+", choices=COMMANDS, default=list(COMMANDS), help="those before them run too"
    )
    parser.add_argument("--place", type=Path, help="a folder that is kept; default: a temporary one")
    parser.add_argument("--save", action="store_true", help=f"write {SAVED.relative_to(ROOT)}")
    args = parser.parse_args()
    last = max(list(COMMANDS).index(stage) for stage in args.stages)
    needed = [stage for stage in list(COMMANDS)[: last + 1] if stage != "shard" or stage in args.stages]
    costs = []
    with ExitStack() as stack:
        place = args.place or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        grown = Grown(place.resolve())
        grown.prepare()
        for scale in [START, *args.scales]:
            costs += [measure(stage, scale, grown.project(stage, scale)) for stage in needed]
    costs = sorted((cost for cost in costs if cost.stage in args.stages), key=lambda cost: needed.index(cost.stage))
    print(table(costs))
    if args.save:
        save(costs)


if __name__ == "__main__":
    main()
