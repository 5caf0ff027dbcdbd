"""A curve as a stage writes it, read back."""

import csv
from pathlib import Path

from stages.lib.curves.curves import COLUMNS, Point


def read_curve(path: Path) -> list[Point]:
    """The rows of a curve's file."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        assert tuple(rows.fieldnames or ()) == COLUMNS
        return [
            Point(
                int(row["step"]),
                float(row["train_loss"]),
                float(row["val_loss"]) if row["val_loss"] else None,
                float(row["lr"]),
                float(row["grad_norm"]),
            )
            for row in rows
        ]
