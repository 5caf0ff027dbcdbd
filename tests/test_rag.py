"""The stage rag on a small corpus, the real embedding model and made-up engines; and what is wrong with its inputs."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages import rag as stage
from stages.lib.answering.chat_settings import ChatSettings
from stages.lib.core.metrics import read_results
from stages.lib.core.params import from_mapping
from stages.lib.core.records import write_jsonl
from stages.lib.llm.protocol import GenerateRequest, Reply
from stages.lib.weights.models import ModelEntry
from tests.lib.conftest import tiny_directory
from tests.params_of import models, section

__all__ = ["tiny_directory"]

SECTION = section("rag", questions=0, off_topic=["Who was Mozart?", "How do bees fly?"], bootstrap_samples=200)
CHAT = section("chat", system="bm25", passages=2, quotes=2, max_new_tokens=8, context_tokens=400, min_relevance=0.35)
TOPICS = {
    "lamp": "The lamp of the harbour burns whale oil. It is lit at sunset by the oldest keeper.",
    "bell": "The bell in the tower weighs nine tons. It was cast in Breslau from captured cannons.",
    "mill": "The mill beside the river grinds barley. Its wheel turns backwards during the spring flood.",
    "barn": "The barn on the northern hill stores apples. Its roof is thatched with reeds from the lake.",
}
ASKED = {
    "lamp": ("What does the lamp of the harbour burn?", "whale oil"),
    "bell": ("How much does the bell in the tower weigh?", "nine tons"),
    "mill": ("What does the mill beside the river grind?", "barley"),
}
REFUSAL = "The text does not say it."


def write_inputs() -> None:
    chunks = [{"id": f"{n}-0", "document": n, "start": 0, "end": len(t), "text": t} for n, t in TOPICS.items()]
    write_jsonl(stage.DOCUMENTS, [{"id": name, "text": text} for name, text in TOPICS.items()])
    write_jsonl(stage.CHUNKS, chunks)
    selected = []
    for name in ASKED:
        end = TOPICS[name].index(".") + 1
        selected.append({"id": f"g:{name}-0", "chunk": f"{name}-0", "support": {"start": 0, "end": end}})
    write_jsonl(stage.SELECTED, selected)
    records = [
        {"id": f"g:{name}-0", "kind": "selected", "question": question, "answer": answer}
        for name, (question, answer) in ASKED.items()
    ]
    records.append(records[0] | {"id": "paired", "kind": "unanswerable", "question_of": "g:lamp-0", "answer": REFUSAL})
    write_jsonl(stage.TEST, records)


def write_params(**changes: Any) -> None:
    sections = {
        "rag": SECTION | changes,
        "chat": CHAT,
        "gguf": {"base": "tiny"},
        "embed": section("embed"),
        "domain": "harbours",
    }
    tiny = {"source": "path:tiny", "backend": "transformers"}
    entries = {"tiny": tiny, "minilm-l6": models()["minilm-l6"]}
    Path("params.yaml").write_text(yaml.safe_dump({"models": entries} | sections))


class Engine:
    """Answers from the passages that it is shown; the base always says the same."""

    version = "made up"
    asked: list[tuple[str, str]] = []  # noqa: RUF012  # engine and prompt, of all runs of a test
    fails_after = 1000

    def __init__(self, entry: ModelEntry) -> None:
        self.name = "tuned" if entry.source.endswith(".gguf") else "base"

    def render(self, request: GenerateRequest) -> str:
        return f"{request.prompt.system}|{request.prompt.text}"

    def generate(
        self, requests: Sequence[GenerateRequest], missing: Sequence[int]
    ) -> Iterator[list[tuple[int, Reply]]]:
        for i in missing:
            if len(self.asked) >= Engine.fails_after:
                raise RuntimeError("killed")
            text = requests[i].prompt.text
            self.asked.append((self.name, text))
            known = [answer for question, answer in ASKED.values() if question in text and answer in text]
            said = (known or [REFUSAL])[0] if self.name == "tuned" else "I am a model."
            yield [(i, Reply(text=f" {said}", finish_reason="stop", prompt_tokens=1, completion_tokens=1))]

    def close(self) -> None:
        pass


@pytest.fixture
def project(tmp_path: Path, tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / ".cache"))
    monkeypatch.setattr(stage, "make_backend", Engine)
    monkeypatch.setattr(stage, "read_gguf_header", lambda file: None)
    monkeypatch.setattr(Engine, "asked", [])
    monkeypatch.setattr(Engine, "fails_after", 1000)
    Path("tiny").symlink_to(tiny_directory)
    Path("models/gguf").mkdir(parents=True)
    Path("models/gguf/released.gguf").write_bytes(b"weights")
    Path("prompts.yaml").write_text(
        yaml.safe_dump(
            {
                "instruct_system_prompt": "answer",
                "answer_from_context_prompt": "{context}\nQ: {question}",
                "reasoning_prompt": "{context} {question}",
            }
        )
    )
    write_params()
    write_inputs()
    return tmp_path


def rows() -> list[dict[str, str]]:
    with (stage.OUT / "rag.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_the_chats_users_get(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.main()
    metrics = read_results("rag")
    assert metrics["questions"] == {"in": 4, "kept": 3, "dropped": {"corpus_may_answer": 1}}
    assert metrics["kinds"] == {"answerable": 3, "removed": 3, "off_topic": 2}
    assert metrics["search"]["system"] == "bm25"
    assert {name: row["value"] for name, row in metrics["citations"].items()} == dict.fromkeys(
        ("found_chunk", "cited_chunk", "cited_chunk_any", "cited_support", "cited_support_any"), 1.0
    )
    tuned, base = metrics["systems"]["tuned"], metrics["systems"]["base"]
    assert tuned["token_f1"]["value"] == 1 and base["token_f1"]["value"] == 0
    assert tuned["token_f1"]["difference"] == 1 and 0 < tuned["token_f1"]["p"] <= tuned["token_f1"]["p_holm"] <= 1
    assert 0 < metrics["systems"]["quotes"]["token_f1"]["value"] < 1
    assert metrics["floor"]["off_topic"]["let_through"] == 0 and metrics["floor"]["off_topic"]["auc"] == 1
    assert json.loads(Path("metrics/rag.json").read_text())["rag"]["tuned_f1"] == 1
    assert (stage.OUT / "rag.png").read_bytes().startswith(b"\x89PNG")
    told = {(row["id"], row["system"]): row for row in rows()}
    lamp = told["g:lamp-0", "tuned"]
    assert (lamp["reply"], lamp["right_chunk"], lamp["chunk"]) == ("whale oil", "1", "lamp-0")
    assert lamp["citation"] == "The lamp of the harbour burns whale oil."
    out = capsys.readouterr().out
    assert "chat.min_relevance 0.35 lets through:" in out
    assert out.splitlines()[-1].startswith("rag: 4 questions -> 3 kept; dropped 1 corpus_may_answer; ")

    before, times = Path("metrics/full/rag.json").read_bytes(), len(Engine.asked)
    stage.main()
    assert Path("metrics/full/rag.json").read_bytes() == before
    assert len(Engine.asked) == times  # everything was in the ledger


def test_a_question_without_its_document_is_not_answered_from_it(project: Path) -> None:
    write_params(off_topic=[])
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("min_relevance: 0.35", "min_relevance: 0.0"))
    stage.main()
    removed = [row for row in rows() if row["kind"] == "removed"]
    assert len(removed) == 9
    for row in removed:
        assert row["chunk"].removesuffix("-0") != row["id"].removeprefix("removed:g:").removesuffix("-0")
        assert row["refused"] == str(int(row["system"] == "tuned"))
    with_document = [text for _, text in Engine.asked if ASKED["lamp"][0] in text and "whale oil" in text]
    assert len(with_document) == 2  # base and tuned, the answerable question alone


def test_a_killed_stage_asks_nothing_twice(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "fails_after", 2)
    with pytest.raises(RuntimeError, match="killed"):
        stage.main()
    assert not stage.OUT.exists()
    monkeypatch.setattr(Engine, "fails_after", 1000)
    stage.main()
    assert len(set(Engine.asked)) == len(Engine.asked)


def test_both_models_get_the_same_prompts_and_the_limit_counts_questions(project: Path) -> None:
    write_params(questions=1)
    stage.main()
    (first, prompt), (second, other) = Engine.asked
    assert (first, second) == ("base", "tuned") and prompt == other
    assert read_results("rag")["asked"] == {"answerable": 1}
    assert read_results("rag")["kinds"]["answerable"] == 3  # the search is measured on all


def test_no_question_about_a_chunk_is_an_error_that_says_why(project: Path) -> None:
    write_jsonl(stage.SELECTED, [])
    with pytest.raises(ValueError, match=r"none of 4 questions is about a chunk: .*not_about_a_chunk.*3"):
        stage.main()


def test_without_a_released_model_nothing_is_computed(project: Path) -> None:
    Path("models/gguf/released.gguf").unlink()
    with pytest.raises(ValueError, match=r"expected one \.gguf file"):
        stage.main()
    assert not stage.OUT.exists()


def test_a_base_in_a_gguf_file_is_run_by_the_engine_of_the_released_model(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = {"base.gguf": "0"}
    gguf = ModelEntry(
        source="package:x/base.gguf", sha256=pinned, backend="transformers", thinking=True, system_role="fold"
    )
    safetensors = ModelEntry(source="hub:a/b", revision="c" * 40, backend="transformers")
    monkeypatch.setattr(stage, "load_model_entry", {"gguf": gguf, "safetensors": safetensors}.__getitem__)
    settings = from_mapping(ChatSettings, CHAT | {"gpu_layers": 7}, "chat")
    found = stage.asked_entries("gguf", Path("released.gguf"), settings)
    for entry in found.values():
        assert (entry.backend, entry.context, entry.concurrency, entry.gpu_layers) == ("llama_cpp", 400, 1, 7)
        assert (entry.thinking, entry.system_role) == (True, "fold")  # the released model is asked as its base
    assert found["tuned"].source == "path:released.gguf"
    assert stage.asked_entries("safetensors", Path("released.gguf"), settings)["base"] is safetensors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"questions": -1}, "questions: -1"),
        ({"off_topic": ["a", "a"]}, "off_topic: each question once"),
        ({"off_topic": [" "]}, "off_topic: each question once, none empty"),
        ({"bootstrap_samples": 10}, "too few for a 95% interval"),
    ],
)
def test_params_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(stage.Params, SECTION | change, "rag")
