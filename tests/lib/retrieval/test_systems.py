"""The page's search is the one that the benchmark ranks best among those it can run."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.lib.retrieval.systems import best_system


def benchmark(project: Path, **mrr: float) -> Path:
    results: dict[str, Any] = {"queries": 90, "systems": {name: {"mrr": value} for name, value in mrr.items()}}
    (project / "metrics/full").mkdir(parents=True)
    (project / "metrics/full/benchmark_results.json").write_text(json.dumps([results]))
    return project


@pytest.mark.parametrize(
    ("mrr", "system", "instruction"),
    [
        ({"bm25": 0.5, "m_base": 0.4, "m_base_late": 0.45, "m_base_bm25-rrf": 0.48}, "bm25", ""),
        ({"bm25": 0.5, "m_base": 0.4, "m_ml_hf": 0.6}, "dense", "ml_hf"),
        ({"bm25": 0.5, "m_base_late": 0.7, "m_base_cross": 0.9}, "late_interaction", "base"),
        ({"bm25": 0.5, "m_ml_hf_bm25-rrf": 0.7}, "fused", "ml_hf"),
        ({"other_base": 0.9, "m_base": 0.1}, "dense", "base"),
        ({"other_base": 0.9}, "fused", ""),
    ],
)
def test_best_of_those_that_run_here(tmp_path: Path, mrr: dict[str, float], system: str, instruction: str) -> None:
    choice = best_system(["m"], ["base", "ml_hf"], ["late"], benchmark(tmp_path, **mrr))
    assert (choice.system, choice.instruction) == (system, instruction)


def test_without_a_benchmark_rankings_are_fused_and_it_is_said(tmp_path: Path) -> None:
    choice = best_system(["m"], ["base"], ["late"], tmp_path)
    assert choice.system == "fused" and "dvc repro benchmark" in choice.why


def test_the_reason_names_system_value_and_questions(tmp_path: Path) -> None:
    choice = best_system(["m"], ["base"], ["late"], benchmark(tmp_path, **{"bm25": 0.549248, "m_base": 0.3}))
    assert choice.why == "bm25 has the best MRR of the benchmark: 0.549 on 90 questions"
