"""The tables: means, intervals, what is compared with what, long format."""

import numpy as np
import pytest

from stages.lib.ranking.measures import measure_names
from stages.lib.ranking.report import (
    System,
    Values,
    accuracy_over_dimension,
    accuracy_over_k,
    tabulate,
    to_text,
)

TOP_K = (1, 3)


def values(first_ranks: list[int]) -> Values:
    """Measures of queries with one relevant document, found at the given ranks."""
    rows = [[float(rank <= k) for k in TOP_K] + [1 / rank, 1 / rank, 1 / np.log2(rank + 1)] for rank in first_ranks]
    return np.array(rows)


def dense(name: str, dimension: int, full: bool, ranks: list[int]) -> System:
    embedding, instruction = name.split("_")[:2]
    return System(
        name=name,
        method="dense",
        embedding=embedding,
        instruction=instruction,
        dimension=dimension,
        full=full,
        values=values(ranks),
    )


SYSTEMS = [
    System(name="bm25", method="bm25", values=values([2] * 20)),
    dense("m_base", 64, True, [1] * 20),
    dense("m_base_32", 32, False, [4] * 20),
    dense("m_ml", 64, True, [1] * 19 + [2]),
    dense("m_ml_32", 32, False, [1] * 19 + [2]),
]


def test_rows_hold_means_bounds_and_comparisons() -> None:
    rows = {row["system"]: row for row in tabulate(SYSTEMS, TOP_K, samples=999, seed=0)}
    assert list(rows) == [system.name for system in SYSTEMS]
    bm25, base = rows["bm25"], rows["m_base"]
    assert [bm25[name] for name in measure_names(TOP_K)] == pytest.approx([0, 1, 0.5, 0.5, 1 / np.log2(3)])
    assert (bm25["mrr_low"], bm25["mrr_high"], bm25["queries"], bm25["dimension"]) == (0.5, 0.5, 20, "")
    assert rows["m_ml"]["mrr"] == pytest.approx(0.975)
    assert rows["m_ml"]["mrr_low"] < 0.975 < rows["m_ml"]["mrr_high"]
    assert (base["compared_with"], base["p"]) == ("", "")
    assert (bm25["compared_with"], bm25["mrr_difference"]) == ("m_base", -0.5)
    # Two full systems are compared with m_base: Holm doubles the smaller p.
    assert bm25["p"] == 0.001
    assert bm25["p_holm"] == 0.002
    assert rows["m_ml"]["p"] == rows["m_ml"]["p_holm"] == 1.0
    # Truncated rows are compared with their own model and instruction, and are a family of their own.
    assert (rows["m_base_32"]["compared_with"], rows["m_base_32"]["p_holm"]) == ("m_base", 0.001)
    assert (rows["m_ml_32"]["compared_with"], rows["m_ml_32"]["mrr_difference"]) == ("m_ml", 0.0)


def test_long_tables() -> None:
    rows = tabulate(SYSTEMS, TOP_K, samples=100, seed=0)
    over_k = accuracy_over_k(rows, TOP_K)
    assert [(row["system"], row["k"], row["accuracy"]) for row in over_k] == [
        ("bm25", 1, 0.0),
        ("bm25", 3, 1.0),
        ("m_base", 1, 1.0),
        ("m_base", 3, 1.0),
        ("m_ml", 1, 0.95),
        ("m_ml", 3, 1.0),
    ]
    over_dimension = accuracy_over_dimension(rows, headline_k=1)
    assert [(row["system"], row["dimension"], row["accuracy"]) for row in over_dimension] == [
        ("m_base", 32, 0.0),
        ("m_base", 64, 1.0),
        ("m_ml", 32, 0.95),
        ("m_ml", 64, 0.95),
    ]
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in over_k + over_dimension)


def test_table_for_the_terminal_has_the_full_systems_best_first() -> None:
    lines = to_text(tabulate(SYSTEMS, TOP_K, samples=100, seed=0), headline_k=3).splitlines()
    assert [line.split()[0] for line in lines] == ["system", "m_base", "m_ml", "bm25"]
    assert lines[-1].split() == ["bm25", "0.500", "0.500-0.500", "1.000", "0.631"]
