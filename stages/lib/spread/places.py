"""Where a worker, whose directory is another one, finds what a model's entry names."""

from dataclasses import replace
from pathlib import Path

from stages.lib.weights.models import ModelEntry


def found_anywhere(entry: ModelEntry) -> ModelEntry:
    """The entry, with a path that leads to the weights from any directory of a machine that has them there."""
    kind, _, rest = entry.source.partition(":")
    return replace(entry, source=f"path:{Path(rest).resolve()}") if kind == "path" else entry
