"""The benchmark stage: on a small project on disk, and on broken ones."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stages import benchmark
from stages.lib.core.metrics import read_results
from stages.lib.core.params import from_mapping
from stages.lib.core.records import Record, read_jsonl, write_json, write_jsonl
from stages.lib.ranking.grid import read_grid
from stages.lib.ranking.measures import measure_names
from stages.lib.ranking.qrels import Relevant
from tests.params_of import section

SMALL = {"cutoffs": [1, 3], "headline_k": 3, "dimensions": [4, 8, 16, 64], "depth": 10, "bootstrap_samples": 200}
PARAMS = section("benchmark", **SMALL)
Vectors = np.ndarray[Any, np.dtype[np.float32]]


HELD_OUT = ["g:d1-14", "g:d1-21"]
RUNS = "data/retriever/embedding_runs.jsonl"


def unit(vectors: Any) -> Vectors:
    found: Vectors = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return found


def write_project(root: Path) -> None:
    """Three documents of four overlapping chunks; d2-0 has the words of d0-0; six questions, 16 dimensions."""
    generator = np.random.default_rng(0)
    chunks: list[Record] = []
    for document in ("d0", "d1", "d2"):
        words = [f"{document}word{i:02d}" for i in range(30)]
        text = " ".join(words)  # 8 + 1 characters a word
        for first in (0, 7, 14, 21):
            start, end = first * 9, first * 9 + 80
            chunks.append(
                {"id": f"{document}-{first}", "document": document, "start": start, "end": end, "text": text[start:end]}
            )
    by_id = {chunk["id"]: chunk for chunk in chunks}
    by_id["d2-0"]["text"] = f"**{by_id['d0-0']['text'].upper()}**"
    write_jsonl(root / "data/chunks/chunks.jsonl", chunks)
    asked = ["d0-0", "d0-7", "d1-14", "d1-21", "d2-7", "d2-14"]
    questions: list[Record] = [
        {
            "id": f"g:{chunk}",
            "chunk": chunk,
            "question": " ".join(f"{chunk[:2]}word{int(chunk[3:]) + i:02d}" for i in (1, 3)) + "?",
            "support": {"start": 0, "end": 8} if chunk == "d0-7" else None,  # its first word is in d0-0's last too
        }
        for chunk in asked
    ]
    write_jsonl(root / "data/selected/qa_selected.jsonl", questions)
    ids = [chunk["id"] for chunk in chunks]
    vectors = unit(generator.normal(size=(len(ids), 16)))
    vectors[ids.index("d2-0")] = unit(vectors[ids.index("d0-0")] + 0.01)
    embeddings = root / "data/embeddings"
    write_json(embeddings / "m_chunks_ids.json", ids)
    np.save(embeddings / "m_chunks.npy", vectors)
    write_json(embeddings / "m_query_ids.json", [question["id"] for question in reversed(questions)])
    for instruction, noise in (("base", 0.2), ("ml", 0.3)):
        targets = [vectors[ids.index(question["chunk"])] for question in reversed(questions)]
        queries = unit(np.stack(targets) + noise * generator.normal(size=(len(asked), 16)))
        np.save(embeddings / f"m_{instruction}_query.npy", queries)
    rerankings = [
        {
            "query": question["id"],
            "candidates": [
                {"chunk": chunk, "rerank_rank": place}
                for place, chunk in enumerate([question["chunk"], *sorted(set(ids) - {question["chunk"]})[:3]], start=1)
            ],
        }
        for question in questions
    ]
    write_jsonl(root / "data/reranking/m_r_base_reranking.jsonl", rerankings)
    runs = [
        {"system": "m-embedding", "method": "dense", "query": one, "chunks": [one[2:], *sorted(set(ids) - {one[2:]})]}
        for one in HELD_OUT
    ]
    write_jsonl(root / RUNS, runs)
    write_params(root, PARAMS)


def write_params(root: Path, params: dict[str, Any]) -> None:
    content = {
        "embed": {"models": ["m"], "instructions": {"base": "", "ml": "Find it."}, "tell": []},
        "rerank": {"rerankers": ["r"], "instructions": ["base"]},
        "retriever": {"parts": ["embedding"]},
        "benchmark": params,
    }
    (root / "params.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(path: str, change: Callable[[Any], Any]) -> None:
    """Rewrites a JSON or JSONL file of the project with `change` applied to its content."""
    file = Path(path)
    if file.suffix == ".jsonl":
        write_jsonl(file, change(read_jsonl(file)))
    else:
        write_json(file, change(json.loads(file.read_text())))


def results() -> dict[str, dict[str, str]]:
    with Path("data/benchmarks/benchmark_results.csv").open() as file:
        return {row["system"]: row for row in csv.DictReader(file)}


OUTPUTS = [
    "data/benchmarks/accuracy_at_k.csv",
    "data/benchmarks/accuracy_by_dimension.csv",
    "data/benchmarks/benchmark.png",
    "data/benchmarks/benchmark_results.csv",
    "data/benchmarks/held_out.csv",
    "metrics/full/benchmark_results.json",
]


def test_the_stage_writes_every_system_and_the_same_bytes_twice(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark.main()
    assert "m has 16 dimensions; skipped: 64\n" in capsys.readouterr().out
    first = {path: Path(path).read_bytes() for path in OUTPUTS}
    benchmark.main()
    assert first == {path: Path(path).read_bytes() for path in OUTPUTS}
    assert sorted(str(path) for path in Path("data/benchmarks").iterdir()) == OUTPUTS[:-1]

    rows = results()
    full = ["bm25", "m_base", "m_base_r", "m_base_bm25-rrf", "m_ml", "m_ml_bm25-rrf"]
    assert sorted(rows) == sorted([*full, "m_base_4", "m_base_8", "m_ml_4", "m_ml_8"])
    metrics = read_results("benchmark_results")
    assert list(metrics["systems"]) == full
    assert (metrics["corpus"], metrics["queries"], metrics["skipped_dimensions"]) == (12, 6, {"m": [64]})
    # d0-0's question: itself and d2-0. d0-7's: itself, d0-0 which holds the support too, and so d2-0.
    assert metrics["relevant"] == {"own_chunk": 6, "overlapping": 1, "same_words": 2}
    assert metrics["questions_without_support"] == 5
    for name, values in metrics["systems"].items():
        assert all(float(rows[name][measure]) == value for measure, value in values.items())
    assert float(rows["m_base_r"]["mrr"]) == 1.0  # the reranker of this project puts the right chunk first
    assert float(rows["bm25"]["accuracy_at_1"]) > 0.8
    assert (rows["m_base_r"]["reranker"], rows["m_base_8"]["dimension"], rows["m_base"]["dimension"]) == (
        "r",
        "8",
        "16",
    )
    assert rows["bm25"]["compared_with"] == "m_base"
    timing = json.loads(Path("timings/benchmark.json").read_text())
    assert set(timing["parts"]) == {"read", "retrieve and measure", "statistics", "draw"}


def test_trained_systems_are_measured_beside_all_others_on_held_out_questions_alone(project: Path) -> None:
    benchmark.main()
    with Path("data/benchmarks/held_out.csv").open() as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"bm25", "m_base", "m_base_r", "m_base_bm25-rrf", "m_ml", "m_ml_bm25-rrf", "m-embedding"}
    assert {row["queries"] for row in rows.values()} == {"2"}
    assert float(rows["m-embedding"]["mrr"]) == 1.0
    assert rows["m-embedding"]["compared_with"] == "m_base"
    assert "m-embedding" not in results()
    edit(RUNS, lambda runs: [run | {"chunks": run["chunks"][1:] + run["chunks"][:1]} for run in runs])
    benchmark.main()
    with Path("data/benchmarks/held_out.csv").open() as file:
        assert {float(row["mrr"]) < 0.2 for row in csv.DictReader(file) if row["system"] == "m-embedding"} == {True}


def test_without_held_out_questions_the_table_of_all_stands_alone(project: Path) -> None:
    edit(RUNS, lambda _: [])
    benchmark.main()
    assert not Path("data/benchmarks/held_out.csv").read_text().strip()
    assert "m_base" in results()


def test_the_same_words_and_overlaps_count_as_right(project: Path) -> None:
    # The reranker names d2-0 alone, which has the words of d0-0: right for d0-0's question, and through d0-0,
    # which holds the support of d0-7's question, right for that one.
    edit(
        "data/reranking/m_r_base_reranking.jsonl",
        lambda records: [{**record, "candidates": [{"chunk": "d2-0", "rerank_rank": 1}]} for record in records],
    )
    benchmark.main()
    assert float(results()["m_base_r"]["accuracy_at_1"]) == pytest.approx(2 / 6, abs=1e-5)
    write_params(project, {**PARAMS, "count_overlaps": False})
    benchmark.main()
    assert float(results()["m_base_r"]["accuracy_at_1"]) == pytest.approx(1 / 6, abs=1e-5)
    edit(
        "data/chunks/chunks.jsonl",
        lambda records: [{**record, "text": record["text"].replace("WORD03", "WORD04")} for record in records],
    )
    benchmark.main()
    assert float(results()["m_base_r"]["accuracy_at_1"]) == 0.0


def test_the_first_of_equal_systems_is_the_best_of_its_method() -> None:
    def row(system: str, method: str, mrr: float, full: bool = True) -> Record:
        return {"system": system, "method": method, "mrr": mrr, "full_dimension": full}

    rows = [row("a", "dense", 0.4), row("b", "dense", 0.5), row("c", "dense", 0.5), row("c_4", "dense", 0.9, False)]
    assert benchmark.best_by_mrr([*rows, row("bm25", "bm25", 0.1)]) == {"dense": "b", "bm25": "bm25"}


def test_the_constant_of_the_fusion_decides_what_comes_first() -> None:
    """First by the embedding and sixth by BM25, against third by both."""
    ids = [f"c{i}" for i in range(8, 0, -1)]
    asked, vectors = np.eye(8, dtype=np.float32)[:1], unit(np.eye(8, dtype=np.float32) * 0.1)
    vectors[:, 0] = np.linspace(0.9, 0.2, 8)
    inputs = benchmark.Inputs(
        ids=ids,
        texts=ids,
        questions=[{"id": "q", "question": "?"}],
        relevant=Relevant(qrels={"q": {ids[0]: 1}}),
        stored=ids,
        documents={"m": unit(vectors)},
        queries={("m", "base"): asked},
    )
    sparse = [np.array([5, 6, 2, 4, 3, 0])]
    mrr = {}
    for k in (0, 60):
        params = from_mapping(benchmark.Params, section("benchmark", **(SMALL | {"rrf_k": k, "dimensions": [8]})), "x")
        dense, fused = benchmark.systems_of("m", "base", sparse, inputs, params)
        assert (dense.method, fused.method) == ("dense", "fused")
        mrr[k] = fused.values[0][measure_names(params.cutoffs).index("mrr")]
    assert mrr[0] == 1.0
    assert mrr[60] < 1.0


def remove(path: str) -> Callable[[], None]:
    return lambda: Path(path).unlink()


def save(path: str, array: Any) -> Callable[[], None]:
    return lambda: np.save(path, array)


EMBED_AGAIN = r"run again: python -m stages\.embed m$"
RERANK_AGAIN = r"run again: python -m stages\.rerank m r base$"
QUERY_IDS, CHUNK_IDS = "data/embeddings/m_query_ids.json", "data/embeddings/m_chunks_ids.json"
CHUNK_VECTORS, QUERY_VECTORS = "data/embeddings/m_chunks.npy", "data/embeddings/m_ml_query.npy"
RERANKING, SELECTED = "data/reranking/m_r_base_reranking.jsonl", "data/selected/qa_selected.jsonl"


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (remove(RERANKING), r"m_r_base_reranking\.jsonl: no such file; " + RERANK_AGAIN),
        (lambda: edit(RERANKING, lambda records: records[1:]), "its 5 queries are not the 6 selected.*" + RERANK_AGAIN),
        (lambda: edit(RERANKING, lambda records: [*records, records[0]]), "its 7 queries are not.*" + RERANK_AGAIN),
        (
            lambda: edit(
                RERANKING,
                lambda records: [{**records[0], "candidates": [{"chunk": "x", "rerank_rank": 1}]}, *records[1:]],
            ),
            "'g:d0-0': a candidate is repeated or was not embedded.*" + RERANK_AGAIN,
        ),
        (remove(RUNS), r"embedding_runs\.jsonl: no such file; run again: python -m stages.retriever embedding"),
        (
            lambda: edit(RUNS, lambda runs: [runs[0] | {"chunks": ["x"]}]),
            r"embedding_runs\.jsonl: chunk 'x' was not embedded",
        ),
        (lambda: edit(RUNS, lambda runs: [runs[0] | {"query": "x"}]), "runs of questions that are not selected"),
        (remove(CHUNK_IDS), r"m_chunks_ids\.json: no such file; " + EMBED_AGAIN),
        (lambda: edit(CHUNK_IDS, lambda ids: [*ids[1:], "x"]), "1 ids are not in chunks.jsonl, the first 'x': "),
        (lambda: edit(CHUNK_IDS, lambda ids: ids[1:]), r"m_chunks\.npy: shape \(12, 16\), expected \(11, H\); "),
        (lambda: edit(CHUNK_IDS, lambda ids: [ids[0], *ids]), "expected a list of distinct ids; " + EMBED_AGAIN),
        (lambda: Path(CHUNK_IDS).write_text("[1,") and None, r"m_chunks_ids\.json: not valid JSON: .*" + EMBED_AGAIN),
        (lambda: edit(QUERY_IDS, lambda ids: ids[1:]), "5 embedded questions are not the 6 selected ones: "),
        (save(CHUNK_VECTORS, np.full((12, 16), np.nan)), r"m_chunks\.npy: NaN or infinity among the vectors"),
        (save(CHUNK_VECTORS, np.ones((12, 16))), r"m_chunks\.npy: vector 0 has length 4, expected 1"),
        (save(QUERY_VECTORS, np.zeros((6, 8))), r"m_ml_query\.npy: shape \(6, 8\), expected \(6, 16\); "),
        (remove(QUERY_VECTORS), r"m_ml_query\.npy: no such file; " + EMBED_AGAIN),
        (lambda: Path(CHUNK_VECTORS).write_bytes(b"junk") and None, r"m_chunks\.npy: not an \.npy file: "),
        (lambda: Path(SELECTED).write_text("") and None, r"qa_selected\.jsonl is empty"),
        (lambda: Path(SELECTED).write_text('{"id": 1}\n') and None, r"qa_selected\.jsonl:1: the record lacks chunk"),
        (remove(SELECTED), r"qa_selected\.jsonl: no such file"),
    ],
)
def test_broken_inputs_name_the_file_and_what_to_run(project: Path, breakage: Callable[[], None], message: str) -> None:
    breakage()
    with pytest.raises(ValueError, match=message):
        benchmark.main()
    assert not Path("data/benchmarks").exists()
    assert not Path("metrics").exists()


def test_bm25_reads_what_is_told_of_a_chunk(project: Path) -> None:
    edit("data/chunks/chunks.jsonl", lambda chunks: [chunk | {"heading": f"H {chunk['id']}"} for chunk in chunks])
    grid = read_grid(Path("params.yaml"))
    plain, told = (benchmark.read_inputs(grid, True, tell).texts for tell in ([], ["heading"]))  # type: ignore[arg-type]
    inputs = benchmark.read_inputs(grid, True, ["heading"])
    assert told == [f"Heading: H {name}\n\n{text}" for name, text in zip(inputs.ids, plain, strict=True)]
    edit("data/chunks/chunks.jsonl", lambda chunks: [chunk | {"heading": ""} for chunk in chunks])
    assert benchmark.read_inputs(grid, True, ["heading"]).texts == plain


@pytest.mark.parametrize(
    ("section", "content", "message"),
    [
        ("embed", {"models": ["m"]}, "embed.instructions: expected names, found None"),
        ("embed", {"models": [], "instructions": ["base"]}, "need at least one name each"),
        ("rerank", {"rerankers": "r", "instructions": ["base"]}, "rerank.rerankers: expected names, found 'r'"),
        ("rerank", {"rerankers": ["r"], "instructions": ["best"]}, r"\['best'\] not among embed.instructions"),
    ],
)
def test_the_grid_is_checked(project: Path, section: str, content: dict[str, Any], message: str) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    (project / "params.yaml").write_text(yaml.safe_dump({**params, section: content}))
    with pytest.raises(ValueError, match=message):
        benchmark.main()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cutoffs": [3, 1]}, "cutoffs: .* ascending"),
        ({"cutoffs": []}, "cutoffs: .* positive"),
        ({"dimensions": [0, 4]}, "dimensions: .* positive"),
        ({"headline_k": 2}, "headline_k: 2 is not one of cutoffs"),
        ({"depth": 5}, "depth: 5 is less"),
        ({"bm25_b": 1.5}, "bm25_b 1.5: out of range"),
        ({"bootstrap_samples": 10}, "too few"),
        ({"cutoff": [1]}, "cutoff: unknown key .did you mean 'cutoffs'"),
        ({"seed": "0"}, "seed: expected int"),
    ],
)
def test_params_are_strict(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(benchmark.Params, {**PARAMS, **change}, where="params.yaml: benchmark")


def test_models_that_embedded_different_chunks_are_refused(project: Path) -> None:
    write_json(Path("data/embeddings/n_chunks_ids.json"), ["d0-0"])
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["embed"]["models"] = ["m", "n"]
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(ValueError, match=r"n_chunks_ids\.json: other chunks, or another order, than m embedded"):
        benchmark.main()
