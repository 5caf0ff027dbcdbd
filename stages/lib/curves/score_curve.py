"""Scores that are measured in the middle of a training, such as HellaSwag: a CSV row each, kept through kills.

The file in the training's cache directory is the truth, as the curve's is (curves.py); what a stage declares is made
from it. Scores are few and dear, so each is on the disk before the training goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.lib.core.records import write_text


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What is scored in training, and when; every process computes its share."""

    name: str  # what the scores' names begin with where trackers are told
    identity: str  # of what is scored: scores of other items are no points of this curve
    columns: Sequence[str]  # of the CSV, besides `step`: `items` and shares of them
    shown: Sequence[str]  # of the columns, in the picture
    chance: float  # what a model that knows nothing gets
    every: int  # steps; 0: never
    score: Callable[[], Mapping[str, float]]  # the columns' values for the model as it stands, on every process
    csv: Path  # where the stage declares them

    def due(self, step: int) -> bool:
        """Whether it is this step's turn, whatever is logged or validated at it."""
        return bool(self.every) and step % self.every == 0


class ScoreCurve:
    """The scores of a training so far, by step."""

    def __init__(self, path: Path, columns: Sequence[str], resumed_from: int = 0) -> None:
        """Opens the scores of a training that goes on from a step (0: from the beginning); later ones are taken out.

        Raises:
            ValueError: the file is not of these columns.
        """
        self.path, self.columns = path, tuple(columns)
        known = _read(path, self.columns) if resumed_from and path.is_file() else {}
        self.rows: dict[int, dict[str, float]] = {step: row for step, row in known.items() if step <= resumed_from}

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a step's scores; they are on the disk when this returns."""
        # As it will be read back: a resumed training's file and picture equal an uninterrupted one's.
        self.rows[step] = {name: float(f"{values[name]:.6g}") for name in self.columns}
        self._write(self.path)

    def _write(self, path: Path) -> None:
        lines = [
            ",".join([str(step), *(f"{row[name]:.6g}" for name in self.columns)]) for step, row in self.rows.items()
        ]
        write_text(path, "\n".join([_header(self.columns), *lines]) + "\n")

    def publish(self, path: Path) -> None:
        """Writes the file where a stage declares it."""
        self._write(path)


def _header(columns: Sequence[str]) -> str:
    return ",".join(["step", *columns])


def _read(path: Path, columns: Sequence[str]) -> dict[int, dict[str, float]]:
    """The rows by step; the file was renamed into its place, so none of it is torn."""
    head, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    if head != _header(columns):
        raise ValueError(f"{path}:1: expected {_header(columns)!r}; remove this file to go on without its scores")
    rows = {}
    for number, line in enumerate(lines, start=2):
        try:
            step, *values = line.split(",")
            rows[int(step)] = {name: float(value) for name, value in zip(columns, values, strict=True)}
        except ValueError as error:
            raise ValueError(f"{path}:{number}: not a row of {head!r}: {line!r}; remove this file") from error
    return rows
