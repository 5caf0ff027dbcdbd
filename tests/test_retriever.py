import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stages import retriever as stage
from stages.lib.core.metrics import read_results
from stages.lib.core.records import read_jsonl, write_jsonl
from stages.lib.embedding.embedders import open_embedder
from stages.lib.weights.models import load_model_entry
from stages.retriever import Params, Part
from tests.lib.retriever_training.tiny_base import write_tiny_base
from tests.params_of import params_of, section

NOUNS = "baker sailor farmer singer painter doctor keeper driver hunter miller weaver tailor".split()
VERBS = "opens closes paints repairs moves cleans".split()
TRAINING = {"steps": 4, "questions_per_step": 4, "lr": 1.0e-3, "negatives": 1, "max_length": 48, "tuned_share": 0.5}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def project(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve documents of two chunks, a question on each chunk, and what stage embed writes of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / ".cache"))
    chunks: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    for number, noun in enumerate(NOUNS):
        for place in (0, 1):
            verb = VERBS[(number + place) % len(VERBS)]
            text = f"The {noun} {verb} the old house in the village before the rain begins."
            name = f"d{number:02}-{place}"
            chunks.append(
                {"id": name, "document": f"d{number:02}", "source": "s", "start": 0, "end": len(text), "text": text}
            )
            asked = {"id": f"g:{name}", "chunk": name, "question": f"What does the {noun} do?", "support": None}
            questions.append(asked)
    write_jsonl(tmp_path / "data/chunks/chunks.jsonl", chunks)
    write_jsonl(tmp_path / "data/selected/qa_selected.jsonl", questions)
    write_jsonl(tmp_path / "data/near_pairs/tiny.jsonl", [{"a": "d00-0", "b": "d01-0"}])
    own = section("retriever") | {"parts": ["embedding", "cross_encoder"], "base": "tiny", "rule_questions": 4}
    own |= {"embedding": TRAINING, "cross_encoder": TRAINING, "window_chars": 80, "checkpoint_every": 2}
    entry = {"source": f"path:{base}", "backend": "sentence_transformers", "max_length": 48}
    content = {"models": {"tiny": entry}, "retriever": own, "embed": {"tell": []}, "benchmark": {"depth": 10}}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    out = tmp_path / "data/embeddings"
    out.mkdir()
    with open_embedder("tiny", load_model_entry("tiny")) as embedder:
        np.save(out / "tiny_chunks.npy", embedder.encode_documents([one["text"] for one in chunks]))
        np.save(out / "tiny_base_query.npy", embedder.encode_queries([one["question"] for one in questions]))
    (out / "tiny_chunks_ids.json").write_text(json.dumps([one["id"] for one in chunks]))
    (out / "tiny_query_ids.json").write_text(json.dumps([one["id"] for one in questions]))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, part: Part) -> dict[str, bytes]:
    """Runs the stage; the bytes of what it wrote."""
    monkeypatch.setattr(sys, "argv", ["retriever", part])
    stage.main()
    places = [
        *Path("data/retriever").iterdir(),
        *Path("models").rglob("*.safetensors"),
        *Path("metrics").rglob("*.json"),
    ]
    return {str(path): path.read_bytes() for path in places}


@pytest.mark.parametrize("part", ["embedding", "cross_encoder"])
def test_trains_and_searches_for_the_questions_of_held_out_documents(
    project: Path, monkeypatch: pytest.MonkeyPatch, part: Part
) -> None:
    seen: list[Any] = []
    make = stage.make_examples

    def watched(*arguments: Any) -> Any:
        seen.append(make(*arguments))
        return seen[-1]

    monkeypatch.setattr(stage, "make_examples", watched)
    run(monkeypatch, part)
    metrics = read_results(f"retriever_{part}", project)
    assert metrics["groups"]["in"] == len(NOUNS) - 1  # the near pair's documents are one
    assert 0 < metrics["groups"]["dropped"]["held_out"] < len(NOUNS) - 1
    runs = read_jsonl(project / f"data/retriever/{part}_runs.jsonl", ["system", "method", "query", "chunks"])
    asked = {record["query"] for record in runs}
    assert len(asked) == metrics["held_out_questions"] > 0
    assert all(len(record["chunks"]) == len(set(record["chunks"])) == 10 for record in runs)
    systems = {"embedding": {"tiny-embedding"}, "cross_encoder": {"tiny-cross_encoder", "tiny-cross_encoder_fused"}}
    assert {record["system"] for record in runs} == systems[part]
    ((examples, _),) = seen
    held_out = {name[2:5] for name in asked}
    told = {noun for number, noun in enumerate(NOUNS) if f"d{number:02}" in held_out}
    learned = " ".join(text for one in examples for text in (one.question, one.positive, *one.negatives))
    assert told and not [noun for noun in told if noun in learned]
    with (project / f"data/retriever/{part}_curve.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [1, 2, 3, 4]
    assert "starts from `tiny`" in (project / f"models/tiny-{part}/README.md").read_text()


@pytest.mark.slow  # two trainings and a process that dies
def test_a_kill_behind_the_last_step_costs_no_training(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import os, signal, sys\nfrom stages import retriever\nsys.argv = ['retriever', 'embedding']\n"
        "retriever.publish = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\nretriever.main()\n"
    )
    root = Path(stage.__file__).parent.parent
    killed = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(root)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not Path("models").exists() and not Path("data/retriever").exists()

    def again(*_: Any, **__: Any) -> None:
        raise AssertionError("it is trained again")

    monkeypatch.setattr(stage, "run", again)  # not train, whose code is in the key
    run(monkeypatch, "embedding")
    assert json.loads(Path("timings/retriever_embedding.json").read_text())["resumed_from_step"] == 4


@pytest.mark.parametrize("documents", [1, 3])
def test_few_documents_end_no_graph(project: Path, monkeypatch: pytest.MonkeyPatch, documents: int) -> None:
    chunks = [
        one
        for one in read_jsonl(Path("data/chunks/chunks.jsonl"))
        if int(one["document"][1:]) in range(2, 2 + documents)
    ]
    ids = [one["id"] for one in chunks]
    write_jsonl(Path("data/chunks/chunks.jsonl"), chunks)
    asked = [one for one in read_jsonl(Path("data/selected/qa_selected.jsonl")) if one["chunk"] in ids]
    write_jsonl(Path("data/selected/qa_selected.jsonl"), asked)
    write_jsonl(Path("data/near_pairs/tiny.jsonl"), [])
    for kind, names in (("chunks", ids), ("query", [one["id"] for one in asked])):
        array = Path(f"data/embeddings/tiny_{'chunks' if kind == 'chunks' else 'base_query'}.npy")
        np.save(array, np.load(array)[: len(names)])
        Path(f"data/embeddings/tiny_{kind}_ids.json").write_text(json.dumps(names))
    run(monkeypatch, "embedding")
    found = read_results("retriever_embedding", project)
    assert (project / "models/tiny-embedding/model.safetensors").is_file()
    assert len(read_jsonl(Path("data/retriever/embedding_runs.jsonl"))) == found["held_out_questions"]
    if documents == 1:
        assert found["final_train_loss"] is None and found["held_out_questions"] == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"parts": []}, "parts: .* one at least"),
        ({"test_fraction": 1.5}, r"test_fraction: 1.5 is not in 0..1"),
        ({"window_chars": 10}, "window_chars: 10 is below 50"),
    ],
)
def test_params_that_make_no_sense_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(params_of(Params, "retriever"), **changed)


def test_only_what_decides_the_weights_is_in_the_place_of_a_training(project: Path) -> None:
    params, entry = params_of(Params, "retriever"), load_model_entry("tiny")
    place = stage.training_place(params, "embedding", entry, [])
    same = replace(params, checkpoint_every=7, depth=9, embedding=replace(params.embedding, tuned_share=0.1))
    assert stage.training_place(same, "embedding", entry, []) == place
    assert stage.training_place(replace(params, weight_decay=0.5), "embedding", entry, []) != place
    assert stage.training_place(params, "cross_encoder", entry, []) != place


def test_another_argument_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"usage: python -m stages\.retriever PART"):
        run(monkeypatch, "reranker")  # type: ignore[arg-type]


def test_a_base_that_embed_did_not_run_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["models"]["other"] = content["models"]["tiny"]
    content["retriever"]["base"] = "other"
    Path("params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(
        ValueError, match=r"retriever\.base: .*other_chunks\.npy is not there: name 'other' in embed\.models"
    ):
        run(monkeypatch, "embedding")
