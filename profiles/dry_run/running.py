"""Runs the stages of a dry run as processes of its project: how long each took, how large it was, what was replaced."""

import copy
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiles.dry_run.graph import Run
from profiles.dry_run.handed_on import STAND_IN, hand_on, left_nothing
from profiles.dry_run.project import used_entries, write_params

STAND_INS = Path("profiles/dry_run/stand_ins")
TAIL = 30  # lines that are shown of a stage that failed


@dataclass(frozen=True)
class Ended:
    """What came of a process."""

    code: int
    said: str
    seconds: float
    cpu: float  # seconds of all its threads
    memory: int  # bytes at its peak


@dataclass(frozen=True)
class Outcome:
    """One row of the report."""

    run: Run
    ended: Ended
    replaced: tuple[str, ...]


class StageFailedError(Exception):
    """A stage ended as it should not; its last words."""


class Project:
    """A dry run's project: its folder, its params, and the hub's cache with the random models."""

    def __init__(self, place: Path, params: dict[str, Any], cache: Path) -> None:
        self.place, self.params, self.cache = place, params, cache
        write_params(params, place)

    def go(self, run: Run) -> Outcome:
        """Runs one stage, and hands on where random weights leave nothing.

        Raises:
            StageFailedError: it ended with another error.
        """
        replaced = self.replaced(run)
        ended = self._process(run, stand_ins=bool(replaced))
        if ended.code and left_nothing(run.stage, ended.said):
            replaced.append(hand_on(self.place, run.stage, run.arguments, self._stand_in))
        elif ended.code:
            lines = ended.said.strip().splitlines()[-TAIL:]
            raise StageFailedError(f"{run.title} ended with {ended.code}:\n" + "\n".join(lines))
        return Outcome(run, ended, tuple(replaced))

    def replaced(self, run: Run) -> list[str]:
        """What stands in for what in a stage."""
        entries = used_entries(self.params, list(run.models))
        served = [name for name, entry in entries.items() if entry.backend == "vllm"]
        return ["vllm -> its interface on transformers"] if served else []

    def _process(self, run: Run, *, stand_ins: bool) -> Ended:
        """Runs `python -m stages.NAME` to its end."""
        environment = os.environ | {
            "HF_HUB_CACHE": str(self.cache),
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "LLMILL_CACHE": str(self.place / ".cache"),
            "TQDM_DISABLE": "1",
            "PYTHONPATH": str(self.place / STAND_INS) if stand_ins else "",
        }
        log = self.place / "dry_run.log"
        before = time.monotonic()
        with log.open("w", encoding="utf-8") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", f"stages.{run.stage}", *run.arguments],
                cwd=self.place,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said = log.read_text(encoding="utf-8", errors="replace")
        cpu = usage.ru_utime + usage.ru_stime
        return Ended(process.returncode, said, time.monotonic() - before, cpu, usage.ru_maxrss * 1024)

    def _stand_in(self, stage: str, arguments: tuple[str, ...]) -> None:
        """Runs qa or judge with the embedded default, which the params name for that long."""
        params = copy.deepcopy(self.params)
        for section, key in (("qa", "generators"), ("judge", "judges")):
            params[section][key] = [*dict.fromkeys([*params[section][key], STAND_IN])]
        write_params(params, self.place)
        ended = self._process(Run(stage, arguments, (STAND_IN,)), stand_ins=False)
        write_params(self.params, self.place)
        if ended.code:
            raise StageFailedError(
                f"{stage} {' '.join(arguments)}, to be handed on, ended with {ended.code}:\n{ended.said[-2000:]}"
            )


def table(outcomes: list[Outcome]) -> str:
    """The report, a row a run."""
    rows = [
        (
            one.run.title,
            f"{one.ended.seconds:.0f}",
            f"{one.ended.cpu:.0f}",
            f"{one.ended.memory / 1e9:.1f}",
            "; ".join(one.replaced),
        )
        for one in outcomes
    ]
    head = ("stage and its models", "seconds", "CPU seconds", "GB at peak", "replaced")
    name, *widths = (max(len(row[column]) for row in (head, *rows)) for column in range(4))
    lines = []
    for title, *numbers, replaced in (head, *rows):
        cells = [f"{number:>{width}}" for number, width in zip(numbers, widths, strict=True)]
        lines.append("  ".join([f"{title:<{name}}", *cells, replaced]).rstrip())
    seconds, cpu = sum(one.ended.seconds for one in outcomes), sum(one.ended.cpu for one in outcomes)
    return "\n".join([*lines, f"{len(outcomes)} runs, {seconds:.0f} s, {cpu:.0f} s of CPU"])
