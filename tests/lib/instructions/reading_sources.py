"""Reads a source as the stages do."""

from collections import Counter
from pathlib import Path
from typing import Any

from stages.lib.instructions.examples import Example, parse_source, read_source
from stages.lib.reading.documents import Drop


def read_file(kind: str, path: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(prompt, answer) of each example of a file, and (place behind the file's name, reason) of each drop."""
    items = list(read_source(parse_source({"kind": kind, "patterns": [str(path)]}, "sources[0]")))
    kept = [(item.prompt, item.answer) for item in items if isinstance(item, Example)]
    return kept, [(item.source.removeprefix(str(path)), item.reason) for item in items if isinstance(item, Drop)]


def reasons(drops: list[tuple[str, str]]) -> dict[str, Any]:
    """How many drops a reason has."""
    return dict(Counter(reason for _, reason in drops))
