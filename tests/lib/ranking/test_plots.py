"""The picture: what it shows when not everything fits, and that its bytes depend on the numbers alone."""

from pathlib import Path

import pytest

from stages.lib.core.records import Record
from stages.lib.ranking.plots import MOST_SYSTEMS, draw, readable, shown_systems


def row(method: str, mrr: float, embedding: str = "", instruction: str = "", reranker: str = "") -> Record:
    name = "_".join(filter(None, [embedding, instruction, reranker, "rrf" if method == "fused" else ""])) or "bm25"
    return {
        "system": name,
        "method": method,
        "embedding": embedding,
        "instruction": instruction,
        "reranker": reranker,
        "full_dimension": 1,
        "mrr": mrr,
        "mrr_low": mrr - 0.1,
        "mrr_high": mrr + 0.1,
        "compared_with": "" if (embedding, instruction, method) == ("m", "base", "dense") else "m_base",
        "p_holm": 0.01,
    }


def many() -> list[Record]:
    """Baseline and three embeddings with two instructions, each dense, reranked twice and fused: 25 systems."""
    rows = [row("bm25", 0.1)]
    for i, embedding in enumerate(["m", "n", "o"]):
        for j, instruction in enumerate(["base", "ml"]):
            dense = 0.5 + 0.01 * i + (-0.02 * j if embedding == "o" else 0.02 * j)
            rows.append(row("dense", dense, embedding, instruction))
            rows += [row("reranked", dense + 0.1 * k, embedding, instruction, f"r{k}") for k in (1, 2)]
            rows.append(row("fused", dense - 0.1, embedding, instruction))
    return rows


def test_all_systems_are_shown_where_they_fit() -> None:
    few = [row("bm25", 0.5), row("dense", 0.4, "m", "base"), row("dense", 0.6, "m", "ml")]
    assert shown_systems(few) == ["m_ml", "bm25", "m_base"]


def test_otherwise_the_baseline_the_reference_and_each_embeddings_best_instruction() -> None:
    shown = shown_systems(many())
    assert len(shown) == MOST_SYSTEMS
    assert {"bm25", "m_base", "m_ml", "n_ml", "o_base"} <= set(shown)
    assert {"m_ml_r2", "n_ml_r2", "o_base_r2"} <= set(shown)
    assert not {name for name in shown if name.startswith(("m_base_", "n_base", "o_ml"))}


def test_names_for_readers() -> None:
    assert readable(row("bm25", 0.1)) == "BM25"
    assert readable(row("dense", 0.1, "m", "base")) == "m (base)"
    assert readable(row("reranked", 0.1, "m", "base", "r")) == "m (base), reranked by r"
    assert readable(row("fused", 0.1, "m", "base")) == "m (base) + BM25 (RRF)"


@pytest.mark.parametrize("rows", [many(), [row("bm25", 0.5), row("dense", 0.4, "m", "base")]])
def test_same_numbers_same_bytes(tmp_path: Path, rows: list[Record]) -> None:
    over_k = [
        {"system": one["system"], "k": k, "accuracy": 0.5, "low": 0.4, "high": 0.7} for one in rows for k in (1, 5)
    ]
    over_dimension = [
        {"system": one["system"], "dimension": dimension, "accuracy": 0.5, "low": 0.4, "high": 0.7, "mrr": 0.3}
        for one in rows
        if one["method"] == "dense"
        for dimension in (32, 64)
    ]
    for name in ("a.png", "b.png"):
        draw(tmp_path / name, rows, over_k, over_dimension, headline_k=5, caption="2 questions")
    first = (tmp_path / "a.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert b"atplotlib" not in first
    assert first == (tmp_path / "b.png").read_bytes()
    over_k[0]["accuracy"] = 0.6
    draw(tmp_path / "c.png", rows, over_k, over_dimension, headline_k=5, caption="2 questions")
    assert first != (tmp_path / "c.png").read_bytes()
