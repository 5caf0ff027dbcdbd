"""The rows of trained retrievers beside all others, on questions about documents that no training saw.

A row over all questions would show a trained system what it had learned. So each system is measured once more on the
held-out questions alone, which the runs of stage retriever are about.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.lib.core.records import read_jsonl
from stages.lib.ranking.rankings import Ranking
from stages.lib.ranking.report import System

RUNS = Path("data/retriever")


def read_runs(parts: Sequence[str], columns: dict[str, int]) -> dict[tuple[str, str], dict[str, Ranking]]:
    """(system, method) -> question id -> its ranking as columns, of all trained parts.

    Raises:
        ValueError: a file is missing, a chunk is unknown, or two systems found for different questions.
    """
    found: dict[tuple[str, str], dict[str, Ranking]] = {}
    for part in parts:
        path = RUNS / f"{part}_runs.jsonl"
        again = f"run again: python -m stages.retriever {part}"
        if not path.is_file():
            raise ValueError(f"{path}: no such file; {again}")
        for record in read_jsonl(path, ["system", "method", "query", "chunks"]):
            unknown = [name for name in record["chunks"] if name not in columns]
            if unknown:
                raise ValueError(f"{path}: chunk {unknown[0]!r} was not embedded; {again}")
            ranking = np.array([columns[name] for name in record["chunks"]], dtype=np.int64)
            found.setdefault((record["system"], record["method"]), {})[record["query"]] = ranking
    asked = [set(rankings) for rankings in found.values()]
    if any(one != asked[0] for one in asked):
        raise ValueError(f"{RUNS}: the systems {sorted(found)} were asked different questions; run retriever again")
    return found


def on_questions(systems: Sequence[System], questions: Sequence[str], kept: Collection[str]) -> list[System]:
    """The systems at their own dimension, measured on those of the questions that are `kept`."""
    rows = [row for row, name in enumerate(questions) if name in kept]
    return [replace(system, values=system.values[rows]) for system in systems if system.full]
