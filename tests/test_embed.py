import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stages import embed as stage
from stages.embed import Params, embed
from stages.lib.core.records import write_jsonl
from stages.lib.embedding.embedders import Embedder, open_embedder
from stages.lib.weights.models import load_model_entry
from tests.params_of import params_of, project_params

ROOT = Path(__file__).parent.parent
INSTRUCTIONS = {"base": "", "ml": "Find passages about machine learning"}


def params(**changes: Any) -> Params:
    return Params(**({"models": ["minilm-l6"], "instructions": INSTRUCTIONS, "corpus": "all", "tell": []} | changes))


def embedded(
    chunks: list[dict[str, Any]], embedder: Embedder, settings: Params | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, Any]]:
    """Vectors of the chunks and of QUESTIONS, and the metrics."""
    found = embed(iter(chunks), QUESTIONS, embedder, settings or params())
    assert found.chunk_ids == [chunk["id"] for chunk in chunks]
    return np.concatenate(list(found.chunk_blocks)), found.queries, found.metrics


def chunk(name: str, text: str) -> dict[str, Any]:
    return {"id": name, "document": "d", "source": "s", "heading": "H", "start": 0, "end": len(text), "text": text}


CHUNKS = [
    chunk("d-0", "LoRA adds small matrices to frozen weights."),
    chunk("d-1", "A DataLoader makes batches of a data set."),
    chunk("d-2", "The tokenizer cuts a text into tokens. " * 60),
]
QUESTIONS = [
    {"id": "g:d-1", "chunk": "d-1", "question": "What makes batches?"},
    {"id": "g:d-0", "chunk": "d-0", "question": "What does LoRA add to weights?"},
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own in a temporary directory, with the real params and small records."""
    monkeypatch.delenv("LLMILL_CACHE", raising=False)
    monkeypatch.chdir(tmp_path)
    embedding = {"models": ["minilm-l6"], "instructions": INSTRUCTIONS, "corpus": "all", "tell": []}
    content = project_params(embed=embedding)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    write_jsonl(tmp_path / "data/chunks/chunks.jsonl", CHUNKS)
    write_jsonl(tmp_path / "data/chunks/chunks_dedu.jsonl", [CHUNKS[0], CHUNKS[2]])
    write_jsonl(tmp_path / "data/selected/qa_selected.jsonl", QUESTIONS)
    return tmp_path


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> dict[str, bytes]:
    """Runs the stage; returns the bytes of all that it wrote except timings."""
    monkeypatch.setattr(sys, "argv", ["embed", *arguments])
    stage.main()
    return outputs(Path())


def outputs(place: Path) -> dict[str, bytes]:
    files = [*(place / "data/embeddings").iterdir(), *(place / "metrics/full").iterdir()]
    return {file.name: file.read_bytes() for file in sorted(files)}


def test_embeds_chunks_and_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path))
    with open_embedder("minilm-l6", load_model_entry("minilm-l6")) as embedder:
        chunks, queries, metrics = embedded(CHUNKS, embedder)
        assert np.array_equal(chunks[1:2], embedder.encode_documents([CHUNKS[1]["text"]]))
        assert np.array_equal(
            queries["ml"], embedder.encode_queries([q["question"] for q in QUESTIONS], INSTRUCTIONS["ml"])
        )
    assert (queries["base"] @ chunks.T).argmax(axis=1).tolist() == [1, 0]
    assert metrics["chunks"] == 3 and metrics["queries"] == 2 and metrics["dimension"] == 384
    assert metrics["truncated_chunks"] == 1 and metrics["truncated_chunks_share"] == 1 / 3
    own = (queries["base"] * chunks[[1, 0]]).sum(axis=1).mean()
    assert metrics["instructions"]["base"]["mean_cosine_to_own_chunk"] == pytest.approx(own, abs=1e-6)
    assert metrics["instructions"]["ml"]["truncated_queries"] == 0
    json.dumps(metrics)


def test_embeds_what_is_told_of_a_chunk_before_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path))
    with open_embedder("minilm-l6", load_model_entry("minilm-l6")) as embedder:
        told, _, _ = embedded(CHUNKS, embedder, params(tell=["source", "heading"]))
        plain, _, _ = embedded(CHUNKS, embedder)
        texts = [f"Source: s\nHeading: H\n\n{chunk['text']}" for chunk in CHUNKS]
        assert np.array_equal(told, embedder.encode_documents(texts)) and not np.allclose(told, plain)


def test_a_template_with_a_place_for_it_gets_the_chunks_title(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path))
    entry = replace(load_model_entry("minilm-l6"), document_template="title: {title} | text: {text}")
    with open_embedder("minilm-l6", entry) as embedder:
        found, _, _ = embedded([CHUNKS[0], CHUNKS[1] | {"heading": ""}], embedder)
    with open_embedder("minilm-l6", load_model_entry("minilm-l6")) as embedder:
        texts = [f"title: H | text: {CHUNKS[0]['text']}", f"title: s | text: {CHUNKS[1]['text']}"]
        assert np.array_equal(found, embedder.encode_documents(texts))


def test_instructions_speak_of_the_domain(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = yaml.safe_load(Path("params.yaml").read_text())
    first = run_main(monkeypatch, "minilm-l6")["minilm-l6_ml_query.npy"]
    content["embed"]["instructions"]["ml"] = "Find passages about {domain}"
    content["domain"] = "machine learning"
    Path("params.yaml").write_text(yaml.safe_dump(content))
    assert run_main(monkeypatch, "minilm-l6")["minilm-l6_ml_query.npy"] == first
    content["domain"] = "German tenancy law"
    Path("params.yaml").write_text(yaml.safe_dump(content))
    assert run_main(monkeypatch, "minilm-l6")["minilm-l6_ml_query.npy"] != first


def test_writes_arrays_with_their_ids(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_main(monkeypatch, "minilm-l6")
    assert sorted(first) == [
        "embed_minilm-l6.json",
        "minilm-l6_base_query.npy",
        "minilm-l6_chunks.npy",
        "minilm-l6_chunks_ids.json",
        "minilm-l6_ml_query.npy",
        "minilm-l6_query_ids.json",
    ]
    assert json.loads(first["minilm-l6_chunks_ids.json"]) == ["d-0", "d-1", "d-2"]
    assert json.loads(first["minilm-l6_query_ids.json"]) == ["g:d-1", "g:d-0"]
    for name, rows in [("chunks", 3), ("base_query", 2), ("ml_query", 2)]:
        array = np.load(project / f"data/embeddings/minilm-l6_{name}.npy", allow_pickle=False)
        assert array.shape == (rows, 384) and array.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(array, axis=1), 1, atol=1e-6)
    timing = json.loads((project / "timings/embed_minilm-l6.json").read_text())
    assert timing["computed"] == 7
    assert run_main(monkeypatch, "minilm-l6") == first
    assert json.loads((project / "timings/embed_minilm-l6.json").read_text())["computed"] == 0


def test_can_embed_what_dedup_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = yaml.safe_load((project / "params.yaml").read_text())
    content["embed"]["corpus"] = "deduplicated"
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    written = run_main(monkeypatch, "minilm-l6")
    assert json.loads(written["minilm-l6_chunks_ids.json"]) == ["d-0", "d-2"]
    (metrics,) = json.loads(written["embed_minilm-l6.json"])
    assert metrics["corpus"] == "deduplicated" and metrics["chunks"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], r"usage: python -m stages\.embed MODEL, one of \['minilm-l6'\]"),
        (["minilm"], r"one of \['minilm-l6'\]; found \['minilm'\]"),
        (["minilm-l6", "base"], r"usage"),
    ],
)
def test_wrong_arguments(project: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_main(monkeypatch, *arguments)
    assert not (project / "data/embeddings").exists()


@pytest.mark.parametrize(
    ("file", "records", "message"),
    [
        ("data/selected/qa_selected.jsonl", [], r"qa_selected\.jsonl: no selected questions.*funnel\.csv"),
        ("data/chunks/chunks.jsonl", [], r"chunks\.jsonl: no chunks"),
        ("data/chunks/chunks.jsonl", [CHUNKS[0], {"id": "x"}], r"chunks\.jsonl:2: the record lacks text"),
        ("data/chunks/chunks.jsonl", [CHUNKS[0], CHUNKS[0]], r"chunk 'd-0': the id is there more than once"),
        ("data/chunks/chunks.jsonl", [{"id": "x", "text": " \n"}], r"chunk 'x': text must be .* not blank"),
        ("data/chunks/chunks.jsonl", [{"id": "x", "text": 3}], r"chunk 'x': text must be a text .* found 3"),
        ("data/selected/qa_selected.jsonl", [{"id": "q", "chunk": "d-0"}], r"qa_selected\.jsonl:1: .* lacks question"),
    ],
)
def test_bad_records(
    project: Path, monkeypatch: pytest.MonkeyPatch, file: str, records: list[dict[str, Any]], message: str
) -> None:
    write_jsonl(project / file, records)
    with pytest.raises(ValueError, match=message):
        run_main(monkeypatch, "minilm-l6")
    assert not (project / "data/embeddings").exists()


def test_missing_and_broken_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "data/selected/qa_selected.jsonl").write_text('{"id": "q"\n')
    with pytest.raises(ValueError, match=r"qa_selected\.jsonl:1: not a JSON line"):
        run_main(monkeypatch, "minilm-l6")
    (project / "data/selected/qa_selected.jsonl").unlink()
    with pytest.raises(ValueError, match=r"qa_selected\.jsonl: no such file; the stage that writes it has not run"):
        run_main(monkeypatch, "minilm-l6")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": []}, "must each name at least one"),
        ({"instructions": {}}, "must each name at least one"),
        ({"instructions": {"a-b": "x"}}, r"instructions\.a-b: a name is lower-case"),
    ],
)
def test_params_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        params(**changes)


def test_the_projects_params_have_the_three_instructions() -> None:
    assert list(params_of(Params, "embed").instructions) == ["base", "ml", "ml_hf"]


def vectors_in_ledger(project: Path) -> int:
    file = project / ".cache/embeddings/ledger.sqlite"
    if not file.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
            return int(database.execute("SELECT count(*) FROM answers").fetchone()[0])
    except sqlite3.OperationalError:  # the table is not there yet
        return 0


def test_kill_9_and_run_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = [chunk(f"d-{i}", f"Fact {i}: " + "the loss goes down " * (i % 12)) for i in range(120)]
    write_jsonl(project / "data/chunks/chunks.jsonl", chunks)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages.embed", "minilm-l6"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while vectors_in_ledger(project) < 20 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    error = process.communicate()[1].decode()
    assert process.returncode == -signal.SIGKILL, error
    before = vectors_in_ledger(project)
    assert 20 <= before < 124  # in the middle
    assert not (project / "data/embeddings").exists() and not (project / "metrics").exists()

    resumed = run_main(monkeypatch, "minilm-l6")
    assert json.loads((project / "timings/embed_minilm-l6.json").read_text())["computed"] == 124 - before
    monkeypatch.setenv("LLMILL_CACHE", str(project / "fresh"))
    uninterrupted = run_main(monkeypatch, "minilm-l6")
    assert json.loads((project / "timings/embed_minilm-l6.json").read_text())["computed"] == 124
    assert resumed == uninterrupted
