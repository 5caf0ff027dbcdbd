"""The curve of a training: one CSV row per step, kept through kills; curve_picture.py publishes and draws it.

The file in the training's cache directory is the truth and has every step; what a stage declares is made from it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from stages.lib.core.records import write_text

COLUMNS = ("step", "train_loss", "val_loss", "lr", "grad_norm")
HEADER = ",".join(COLUMNS) + "\n"


@dataclass(frozen=True)
class Point:
    """A row of the curve."""

    step: int  # that is complete: 1 after the first update
    train_loss: float  # nats per token
    val_loss: float | None  # None where not evaluated
    lr: float
    grad_norm: float  # before clipping

    def values(self) -> dict[str, float]:
        """What is told of the step: the columns that it has."""
        values = {"train_loss": self.train_loss, "lr": self.lr, "grad_norm": self.grad_norm}
        return values if self.val_loss is None else values | {"val_loss": self.val_loss}

    def line(self) -> str:
        """The row as text: six significant digits, so that a repeated run gives the same bytes."""
        values = (self.train_loss, self.val_loss, self.lr, self.grad_norm)
        return ",".join([str(self.step), *("" if value is None else f"{value:.6g}" for value in values)]) + "\n"


class Curve:
    """Appends points to a CSV file; each is with the operating system, and outlives a kill, when `append` returns."""

    def __init__(self, path: Path, resumed_from: int = 0) -> None:
        """Opens the curve of a training that goes on from a step (0: from the beginning); later rows are taken out.

        Raises:
            ValueError: the file lacks what was before that step, or is not a curve.
        """
        self.points = [] if not resumed_from else _through(path, resumed_from)
        write_text(path, HEADER + "".join(point.line() for point in self.points))
        self._file: TextIO = path.open("a", encoding="utf-8")

    def append(self, step: int, row: Mapping[str, float]) -> None:
        """Adds a row of `train_loss`, `lr`, `grad_norm` and, where evaluated, `val_loss`; steps must grow."""
        assert not self.points or step > self.points[-1].step, (step, self.points[-1])
        line = Point(step, row["train_loss"], row.get("val_loss"), row["lr"], row["grad_norm"]).line()
        self._file.write(line)
        self._file.flush()
        # As it will be read back: a resumed training's picture equals an uninterrupted one's.
        self.points.append(_point(line, "appended"))

    def sync(self) -> None:
        """Has the rows on the disk, not only with the operating system: call it before a checkpoint is saved."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _through(path: Path, step: int) -> list[Point]:
    """The points up to a step. What stands behind may be torn by the kill."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file, and the training goes on from step {step}; remove {path.parent}")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    if not lines or lines[0] != HEADER:
        raise ValueError(f"{path}:1: expected {HEADER.strip()!r}; remove {path.parent} to train from the beginning")
    points: list[Point] = []
    for number, line in enumerate(lines[1:], start=2):
        if number == len(lines) and not line.endswith("\n"):
            break  # the process died while it wrote this row, so no checkpoint knows of it
        point = _point(line, f"{path}:{number}")
        if point.step > step:
            break
        points.append(point)
    return points


def _point(line: str, where: str) -> Point:
    fields = line.rstrip("\n").split(",")
    try:
        step, train, val, lr, norm = fields
        return Point(int(step), float(train), float(val) if val else None, float(lr), float(norm))
    except ValueError as error:
        raise ValueError(f"{where}: not a row of {HEADER.strip()}: {line!r}") from error
