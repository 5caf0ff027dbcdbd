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

VERSION = "0.32.0"  # of the vllm that stands in for (constraints.txt)
STAND_INS = Path("profiles/dry_run/stand_ins")
TAIL = 30  # lines that are shown of a stage that failed


@dataclass(frozen=True)
class Outcome:
    """One row of the report."""

    run: Run
    seconds: float
    memory: int  # bytes, of the process at its peak
    replaced: tuple[str, ...]


class StageFailedError(Exception):
    """A stage ended as it should not; its last words."""


class Project:
    """A dry run's project: its folder, its params, and the hub's cache with the random models."""

    def __init__(self, place: Path, params: dict[str, Any], cache: Path) -> None:
        self.place, self.params, self.cache = place, params, cache
        # The distribution's name is all that is asked of an installed vllm.
        metadata = place / STAND_INS / f"vllm-{VERSION}.dist-info" / "METADATA"
        metadata.parent.mkdir(exist_ok=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}\n", encoding="utf-8")
        write_params(params, place)

    def go(self, run: Run) -> Outcome:
        """Runs one stage, and hands on where random weights leave nothing.

        Raises:
            StageFailedError: it ended with another error.
        """
        replaced = self.replaced(run)
        code, said, seconds, memory = self._process(run, stand_ins=bool(replaced))
        if code and left_nothing(run.stage, said):
            replaced.append(hand_on(self.place, run.stage, run.arguments, self._stand_in))
        elif code:
            lines = said.strip().splitlines()[-TAIL:]
            raise StageFailedError(f"{run.title} ended with {code}:\n" + "\n".join(lines))
        return Outcome(run, seconds, memory, tuple(replaced))

    def replaced(self, run: Run) -> list[str]:
        """What stands in for what in a stage."""
        entries = used_entries(self.params, list(run.models))
        served = [name for name, entry in entries.items() if entry.backend == "vllm"]
        return ["vllm -> its interface on transformers"] if served else []

    def _process(self, run: Run, *, stand_ins: bool) -> tuple[int, str, float, int]:
        """Exit code, output, seconds, peak bytes of `python -m stages.NAME`."""
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
        return process.returncode, said, time.monotonic() - before, usage.ru_maxrss * 1024

    def _stand_in(self, stage: str, arguments: tuple[str, ...]) -> None:
        """Runs qa or judge with the embedded default, which the params name for that long."""
        params = copy.deepcopy(self.params)
        for section, key in (("qa", "generators"), ("judge", "judges")):
            params[section][key] = [*dict.fromkeys([*params[section][key], STAND_IN])]
        write_params(params, self.place)
        code, said, _, _ = self._process(Run(stage, arguments, (STAND_IN,)), stand_ins=False)
        write_params(self.params, self.place)
        if code:
            raise StageFailedError(
                f"{stage} {' '.join(arguments)}, to be handed on, ended with {code}:\n{said[-2000:]}"
            )


def table(outcomes: list[Outcome]) -> str:
    """The report, a row a run."""
    rows = [
        (one.run.title, f"{one.seconds:.1f}", f"{one.memory / 1e9:.1f}", "; ".join(one.replaced)) for one in outcomes
    ]
    head = ("stage and its models", "seconds", "GB at peak", "in the place of")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(3)]
    lines = [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}".rstrip()
        for row in (head, *rows)
    ]
    total = sum(one.seconds for one in outcomes)
    return "\n".join([*lines, f"{len(outcomes)} runs, {total:.0f} s"])
