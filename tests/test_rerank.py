import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stages import rerank
from stages.lib.core.metrics import read_results
from stages.lib.core.params import from_mapping
from stages.lib.reranking.pair_scores import PairScores, QueryDocument
from stages.lib.search.top_k import exact_top_k
from stages.rerank import Corpus, Params, Settings
from tests.params_of import project_params, section

CORPUS = Corpus(ids=["a", "b", "c", "d", "e"], texts=["text a", "text b", "text c", "text d", "text e"])
QUESTIONS: list[dict[str, Any]] = [{"id": "q1", "question": "first?"}, {"id": "q2", "question": "second?"}]
VECTORS = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1], [-1, 0]], dtype=np.float32)
FOUND = exact_top_k(np.array([[1, 0], [0, 1]], dtype=np.float32), VECTORS, 4, CORPUS.ids)  # q1: a b c d, q2: d c b a/e
SETTINGS = Settings(depth=3, dense_weight=0.0, fusion="z_score", rrf_k=60)


class ByText:
    """Scores from a table, text of the chunk -> score, and a note of what was asked."""

    def __init__(self, table: dict[str, float]) -> None:
        self.table = table
        self.asked: list[QueryDocument] = []

    def score(self, pairs: Sequence[QueryDocument], progress: str | None = None) -> PairScores:
        self.asked += pairs
        return PairScores(np.array([self.table[pair.document] for pair in pairs]), truncated=1)


TABLE = {"text a": 0.1, "text b": 0.5, "text c": 0.9, "text d": 0.2, "text e": 1.0}


def order(record: dict[str, Any]) -> list[str]:
    return [one["chunk"] for one in record["candidates"]]


def test_the_first_depth_are_sorted_by_score_and_the_others_stay_below() -> None:
    reranker = ByText(TABLE)
    records, metrics = rerank.rerank(QUESTIONS, CORPUS, FOUND, reranker=reranker, settings=SETTINGS, progress="")
    assert [record["query"] for record in records] == ["q1", "q2"]
    assert order(records[0]) == ["c", "b", "a", "d"]
    assert order(records[1]) == ["c", "b", "d", "a"]
    assert reranker.asked[:3] == [
        QueryDocument("first?", "text a"),
        QueryDocument("first?", "text b"),
        QueryDocument("first?", "text c"),
    ]
    assert records[0]["candidates"][0] == {
        "chunk": "c",
        "dense_score": pytest.approx(0.6),
        "dense_rank": 3,
        "rerank_score": 0.9,
        "rerank_rank": 1,
        "model_score": 0.9,
    }
    assert records[0]["candidates"][3]["rerank_score"] is None
    assert records[0]["candidates"][3]["model_score"] is None
    assert [one["rerank_rank"] for one in records[1]["candidates"]] == [1, 2, 3, 4]
    assert metrics == {
        "queries": 2,
        "chunks": 5,
        "candidates": {"in": 8, "kept": 6, "dropped": {"below_depth": 2}},
        "truncated_pairs": 1,
        "top1_changed_share": 1.0,
        "mean_overlap_at_3": 1.0,
        "mean_rank_change": pytest.approx((2 + 0 + 2 + 1 + 1 + 2) / 6),
    }


def test_equal_scores_keep_the_dense_order() -> None:
    same = ByText(dict.fromkeys(TABLE, 0.5))
    records, metrics = rerank.rerank(QUESTIONS, CORPUS, FOUND, reranker=same, settings=SETTINGS, progress="")
    assert order(records[0]) == ["a", "b", "c", "d"]
    assert metrics["top1_changed_share"] == metrics["mean_rank_change"] == 0.0


def test_overlap_counts_what_entered_the_first_five() -> None:
    found = exact_top_k(
        np.array([[1.0, 0.0]]), np.array([[1 - i / 10, 0.0] for i in range(10)]), 10, list("abcdefghij")
    )
    corpus = Corpus(ids=list("abcdefghij"), texts=list("abcdefghij"))
    last_first = ByText({name: float(i) for i, name in enumerate("abcdefghij")})
    settings = replace(SETTINGS, depth=7)
    _, metrics = rerank.rerank(QUESTIONS[:1], corpus, found, reranker=last_first, settings=settings, progress="")
    assert metrics["mean_overlap_at_5"] == 3 / 5  # g f e d c of a b c d e


def test_dense_weight_one_is_the_dense_order_and_between_both_count() -> None:
    dense_only, both = (replace(SETTINGS, depth=4, dense_weight=weight) for weight in (1.0, 0.5))
    records, _ = rerank.rerank(QUESTIONS, CORPUS, FOUND, reranker=ByText(TABLE), settings=dense_only, progress="")
    assert order(records[0]) == ["a", "b", "c", "d"]
    records, _ = rerank.rerank(QUESTIONS, CORPUS, FOUND, reranker=ByText(TABLE), settings=both, progress="")
    scores, dense = np.array([0.1, 0.5, 0.9, 0.2]), np.array([1, 0.8, 0.6, 0])
    fused = (scores - scores.mean()) / scores.std() / 2 + (dense - dense.mean()) / dense.std() / 2
    assert order(records[0]) == [CORPUS.ids[i] for i in np.argsort(-fused)]
    found = {one["chunk"]: one for one in records[0]["candidates"]}
    assert [found[name]["rerank_score"] for name in "abcd"] == pytest.approx(fused.tolist(), abs=1e-6)
    assert [found[name]["model_score"] for name in "abcd"] == scores.tolist()


def test_rrf_k_reaches_the_fusion() -> None:
    settings = replace(SETTINGS, depth=4, dense_weight=0.5, fusion="reciprocal_rank", rrf_k=1)
    records, _ = rerank.rerank(QUESTIONS, CORPUS, FOUND, reranker=ByText(TABLE), settings=settings, progress="")
    found = {one["chunk"]: one["rerank_score"] for one in records[0]["candidates"]}
    expected = [(1 / 5 + 1 / 2) / 2, (1 / 3 + 1 / 3) / 2, (1 / 2 + 1 / 4) / 2, (1 / 4 + 1 / 5) / 2]
    assert [found[name] for name in "abcd"] == pytest.approx(expected, abs=1e-6)


def test_depth_beyond_the_corpus() -> None:
    settings = replace(SETTINGS, depth=50)
    records, metrics = rerank.rerank(QUESTIONS, CORPUS, FOUND, reranker=ByText(TABLE), settings=settings, progress="")
    assert metrics["candidates"] == {"in": 8, "kept": 8, "dropped": {"below_depth": 0}}
    assert len(records[0]["candidates"]) == 4


PARAMS: dict[str, Any] = {
    "rerankers": ["minilm-l6"],
    "instructions": ["base"],
    "top_k": 4,
    "depth": {"cross_encoder": 4, "yes_no": 4, "late_interaction": 3, "likelihood": 2},
    "dense_weight": {"cross_encoder": 0.0, "yes_no": 0.0, "late_interaction": 0.0, "likelihood": 0.5},
    "fusion": "z_score",
    "rrf_k": 60,
    "late_interaction_idf": True,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 0}, "top_k 0"),
        ({"depth": {**PARAMS["depth"], "yes_no": 0}}, r"depth\.yes_no 0"),
        ({"dense_weight": {**PARAMS["dense_weight"], "likelihood": 1.5}}, r"dense_weight\.likelihood 1\.5"),
        ({"fusion": "sum"}, "z_score"),
        ({"rrf_k": -1}, "rrf_k -1"),
        ({"topk": 3}, "did you mean 'top_k'"),
        ({"depth": {"yes_no": 1}}, "missing cross_encoder"),
    ],
)
def test_bad_params(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(Params, {**PARAMS, **change}, "params.yaml: rerank")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project directory as the stages before leave it, with random vectors."""
    params = project_params(rerank=section("rerank", rerankers=["minilm-l6"], instructions=["base", "ml"]))
    prompts = Path("prompts.yaml").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(params))
    Path("prompts.yaml").write_text(prompts)
    texts = ["The Eiffel Tower stands in Paris.", "A gradient is a vector of derivatives.", "Apples grow on trees."]
    questions = ["What is a gradient?", "Where does the Eiffel Tower stand?"]
    write_lines("data/chunks/chunks.jsonl", [{"id": f"c{i}", "text": text} for i, text in enumerate(texts)])
    asked = [{"id": f"q{i}", "question": text, "chunk": "c0"} for i, text in enumerate(questions)]
    write_lines("data/selected/qa_selected.jsonl", asked)
    Path("data/embeddings").mkdir()
    vectors = np.eye(3, dtype=np.float32)
    np.save("data/embeddings/minilm-l6_chunks.npy", vectors)
    np.save("data/embeddings/minilm-l6_base_query.npy", vectors[[2, 2]])  # to the embedding, all is about apples
    Path("data/embeddings/minilm-l6_chunks_ids.json").write_text('["c0", "c1", "c2"]')
    Path("data/embeddings/minilm-l6_query_ids.json").write_text('["q0", "q1"]')
    return tmp_path


def write_lines(path: str, records: list[dict[str, Any]]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("".join(json.dumps(record) + "\n" for record in records))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["rerank", *arguments])
    rerank.main()


OUT = "data/reranking/minilm-l6_minilm-l6_base_reranking.jsonl"


def test_the_stage_with_the_real_model_twice_gives_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, "minilm-l6", "minilm-l6", "base")
    lines = Path(OUT).read_text()
    metrics = Path("metrics/full/rerank_minilm-l6_minilm-l6_base.json").read_text()
    records = [json.loads(line) for line in lines.splitlines()]
    assert [order(record)[0] for record in records] == ["c1", "c0"]  # the reranker knows better
    assert read_results("rerank_minilm-l6_minilm-l6_base")["method"] == "late_interaction"
    assert read_results("rerank_minilm-l6_minilm-l6_base")["top1_changed_share"] == 1.0
    assert not Path("metrics/rerank_minilm-l6_minilm-l6_base.json").exists()  # the benchmark has what it is worth
    assert Path("timings/rerank_minilm-l6_minilm-l6_base.json").exists()
    run(monkeypatch, "minilm-l6", "minilm-l6", "base")  # from the ledger
    assert Path(OUT).read_text() == lines
    monkeypatch.setenv("LLMILL_CACHE", str(project / "other_cache"))  # from scratch
    run(monkeypatch, "minilm-l6", "minilm-l6", "base")
    assert Path(OUT).read_text() == lines
    assert Path("metrics/full/rerank_minilm-l6_minilm-l6_base.json").read_text() == metrics


def test_a_reranker_reads_a_chunk_as_it_was_embedded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    class Reading(ByText):
        def score(self, pairs: Sequence[QueryDocument], progress: str | None = None) -> PairScores:
            read.extend(pair.document for pair in pairs)
            return PairScores(np.zeros(len(pairs)), truncated=0)

    monkeypatch.setattr(rerank, "open_encoder_reranker", lambda entry, corpus, _: nullcontext(Reading({})))
    params = yaml.safe_load(Path("params.yaml").read_text())
    Path("params.yaml").write_text(yaml.safe_dump(params | {"embed": params["embed"] | {"tell": ["heading"]}}))
    chunks = [json.loads(line) for line in Path("data/chunks/chunks.jsonl").read_text().splitlines()]
    write_lines("data/chunks/chunks.jsonl", [chunk | {"heading": f"H{i}"} for i, chunk in enumerate(chunks)])
    run(monkeypatch, "minilm-l6", "minilm-l6", "base")
    assert "Heading: H0\n\nThe Eiffel Tower stands in Paris." in read


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["minilm-l6", "minilm-l6"], "usage"),
        (["minilm-l6", "minilm", "base"], r"rerank\.rerankers"),
        (["minilm-l6", "minilm-l6", "bass"], r"rerank\.instructions"),
        (["other", "minilm-l6", "base"], r"other_chunks_ids\.json: no such file; run again: python -m stages\.embed"),
        (["minilm-l6", "minilm-l6", "ml"], r"minilm-l6_ml_query\.npy: no such file"),
    ],
)
def test_wrong_arguments_are_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(monkeypatch, *arguments)
    assert not Path("data/reranking").exists()


def test_files_that_do_not_go_together_are_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(message: str) -> None:
        with pytest.raises(ValueError, match=message):
            run(monkeypatch, "minilm-l6", "minilm-l6", "base")

    ids = Path("data/embeddings/minilm-l6_chunks_ids.json")
    ids.write_text('["c0", "c1", "gone"]')
    fails(r"minilm-l6_chunks_ids\.json: 1 ids are not in chunks\.jsonl, the first 'gone'")
    ids.write_text('["c0", "c1"]')
    fails(r"minilm-l6_chunks\.npy: shape \(3, 3\), expected \(2, H\)")
    ids.write_text('["c0", "c1", "c2"]')
    write_lines("data/selected/qa_selected.jsonl", [{"id": "q7", "question": "Why?"}])
    fails(r"minilm-l6_query_ids\.json: 2 embedded questions are not the 1 selected")
    Path("data/chunks/chunks.jsonl").write_text('{"id": "c0", "text": "x"}\n{"id": "c1"\n')
    fails(r"chunks\.jsonl:2: not a JSON line")
    assert not Path("data/reranking").exists()
