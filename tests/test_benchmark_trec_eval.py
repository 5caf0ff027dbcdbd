"""The benchmark's measures on real judgments and real vectors against trec_eval."""

import os
from pathlib import Path

import numpy as np
import pytest

from stages import benchmark
from stages.lib.core.records import Record, read_jsonl
from stages.lib.ranking.measures import measure_names
from stages.lib.ranking.qrels import Relevant
from stages.lib.ranking.rankings import tie_order, truncate
from stages.lib.ranking.report import tabulate
from stages.lib.search.bm25 import BM25
from stages.lib.weights.models import load_model_entry
from tests.params_of import params_of

TREC = {"mrr": "recip_rank", "map": "map", "ndcg_at_10": "ndcg_cut_10", "accuracy_at_1": "success_1"}


def assert_equal_to_trec_eval(inputs: benchmark.Inputs, params: benchmark.Params) -> None:
    """Each dense and truncated row of the benchmark against trec_eval's own code on the raw cosines."""
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="pytrec_eval-terrier (extra dev) is not installed")
    evaluator = pytrec_eval.RelevanceEvaluator(inputs.relevant.qrels, {"recip_rank", "map", "ndcg_cut_10", "success_1"})
    names = measure_names(params.cutoffs)
    index = BM25(inputs.texts, k1=params.bm25_k1, b=params.bm25_b)
    asked = [question["id"] for question in inputs.questions]
    checked = 0
    for system in benchmark.build_systems(inputs, params):
        ids = inputs.ids
        if system.method == "bm25":
            scores = index.scores([question["question"] for question in inputs.questions])
        elif system.method == "dense":
            documents = truncate(inputs.documents[system.embedding], system.dimension).astype(np.float64)
            queries = truncate(inputs.queries[system.embedding, system.instruction], system.dimension).astype(
                np.float64
            )
            scores, ids = np.round(queries @ documents.T, 12), inputs.stored
        else:
            continue
        run = {
            query: {
                name: float(score)
                for name, score in zip(ids, row, strict=True)
                if system.method == "dense" or score > 0
            }
            for query, row in zip(asked, scores, strict=True)
        }
        expected = evaluator.evaluate(run)
        for query, values in zip(asked, system.values, strict=True):
            found = dict(zip(names, values.tolist(), strict=True))
            if run[query]:
                theirs = {ours: expected[query][name] for ours, name in TREC.items()}
            else:
                theirs = dict.fromkeys(TREC, 0.0)  # no word in common with any text: trec_eval sees no such query
            assert {ours: found[ours] for ours in TREC} == pytest.approx(theirs, abs=1e-9), (system.name, query)
        checked += 1
    assert checked == 2 + sum(dimension < 384 for dimension in params.dimensions)


def beir(folder: Path, qrels_file: str, queries: int) -> benchmark.Inputs:
    """A data set in BEIR layout, its first `queries` judged queries, embedded with the packaged MiniLM."""
    from stages.lib.embedding.embedders import open_embedder

    corpus: list[Record] = read_jsonl(folder / "corpus.jsonl", ["_id", "title", "text"])
    texts = {record["_id"]: record["text"] for record in read_jsonl(folder / "queries.jsonl", ["_id", "text"])}
    qrels: dict[str, dict[str, int]] = {}
    path = folder / qrels_file
    if path.suffix == ".tsv":
        judged = [tuple(line.split("\t")) for line in path.read_text().splitlines()[1:]]
    else:
        judged = [(record["query-id"], record["corpus-id"], record["score"]) for record in read_jsonl(path)]
    for query, document, grade in judged:
        qrels.setdefault(query, {})[document] = int(grade)
    qrels = {query: qrels[query] for query in sorted(qrels)[:queries]}
    corpus = [corpus[i] for i in tie_order([record["_id"] for record in corpus])]
    with open_embedder(
        "minilm-l6", load_model_entry("minilm-l6", Path(__file__).parent.parent / "params.yaml")
    ) as embedder:
        documents = embedder.encode_documents([record["text"] for record in corpus])
        asked = embedder.encode_queries([texts[query] for query in qrels])
    return benchmark.Inputs(
        ids=[record["_id"] for record in corpus],
        texts=[record["text"] for record in corpus],
        questions=[{"id": query, "question": texts[query]} for query in qrels],
        relevant=Relevant(qrels=qrels),
        stored=[record["_id"] for record in corpus],
        documents={"minilm-l6": documents},
        queries={("minilm-l6", "base"): asked},
    )


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "qrels_file", "least_mrr"), [("xquad_en_beir", "qrels/test.tsv", 0.7), ("limit_small", "qrels.jsonl", 0.1)]
)
def test_real_judgments_and_real_vectors_equal_trec_eval(
    name: str, qrels_file: str, least_mrr: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "LLMILL_REAL_DATA" not in os.environ:
        pytest.skip("LLMILL_REAL_DATA, the folder of real data sets, is not set")
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path))
    inputs = beir(Path(os.environ["LLMILL_REAL_DATA"]) / name, qrels_file, queries=200)
    params = params_of(
        benchmark.Params,
        "benchmark",
        cutoffs=[1, 10],
        headline_k=10,
        dimensions=[32, 128, 384, 512],
        bootstrap_samples=100,
    )
    assert_equal_to_trec_eval(inputs, params)
    rows = {
        row["system"]: row
        for row in tabulate(
            benchmark.build_systems(inputs, params), params.cutoffs, params.bootstrap_samples, params.seed
        )
    }
    assert rows["minilm-l6_base"]["mrr"] > least_mrr
    assert rows["minilm-l6_base"]["mrr"] > rows["minilm-l6_base_32"]["mrr"]
