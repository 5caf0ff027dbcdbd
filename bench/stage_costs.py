"""A stage's seconds and memory at one size, as bench.scale asks for them: a project folder a size, one run a stage.

Each stage runs as `python -m stages.NAME`, on text grown from the default's (grown_text.py) and, in the place of what
models would take hours to compute, on filled ledgers (grown_inputs.py, answered_stages.py). So what is measured is the
stage beside its model; `model_rates` measures the model, on few items.

- CPU: user and system seconds of the process and of those that it waited for (shard's workers).
- peak: the most resident memory of one process, by the kernel's count (ru_maxrss): the stage's own or its largest
  child's. Pages of mapped files count while they are mapped, though the kernel may take them back.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from stages.lib.core.records import read_json, write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
START = 0.01  # of the default's size
START_OF_QUESTIONS = 0.1  # of the stages that stop where too few questions pass
REPEATS = 2  # of the runs smaller than the default's; the least counts
EMBEDDING = "minilm-l6"
MODEL = "smollm2-135m"
Stage = Literal[
    "chunk", "shard", "near_pairs", "dedup", "embed", "rerank", "benchmark", "qa", "judge", "select", "instruct"
]
COMMANDS: dict[Stage, list[str]] = {
    "chunk": ["chunk"],
    "shard": ["shard"],
    "near_pairs": ["near_pairs", EMBEDDING],
    "dedup": ["dedup"],
    "embed": ["embed", EMBEDDING],
    "rerank": ["rerank", EMBEDDING, MODEL, "base"],
    "benchmark": ["benchmark"],
    "qa": ["qa", MODEL],
    "judge": ["judge", MODEL, MODEL],
    "select": ["select"],
    "instruct": ["instruct"],
}
BEFORE: dict[Stage, tuple[str, ...]] = {  # modules of bench with arguments that make what a stage finds
    "chunk": (),
    "shard": (),
    "near_pairs": ("grown_inputs questions", "grown_inputs vectors"),
    "dedup": ("grown_inputs verdicts",),
    "embed": (),
    "rerank": (f"answered_stages rerank {EMBEDDING} {MODEL} base",),
    "benchmark": ("grown_inputs reranking",),
    # From here on a chunk has a question, and the selected ones replace those that were searched with.
    "qa": (f"answered_stages qa {MODEL}",),
    "judge": (f"answered_stages judge {MODEL} {MODEL}",),
    "select": (),
    "instruct": (),
}


def start_of(stage: Stage) -> float:
    """The scale that counts as what a stage costs without work."""
    return START_OF_QUESTIONS if stage in ("qa", "judge", "select", "instruct") else START


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
            params["dedup"]["sample"] = 0  # qa asks about each chunk
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
        done = project / f".{step.replace(' ', '_')}"
        if not done.exists():
            run([f"bench.{step.split()[0]}", *step.split()[1:]], project)
            done.touch()
            if told := (project / "log").read_text().strip():
                print(f"{stage} x{scale:g}: {told}", flush=True)
    runs = [
        run([f"stages.{COMMANDS[stage][0]}", *COMMANDS[stage][1:]], project) for _ in range(REPEATS if scale < 1 else 1)
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
