"""The stage eval on a tiny model and adapter, the real embedding model, and on what is wrong with its inputs."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages import eval as stage
from stages.lib.cache.ledger import Ledger
from stages.lib.core.metrics import read_results
from stages.lib.core.params import from_mapping
from stages.lib.evaluation.held_out import choose_questions, prompt_of
from stages.lib.evaluation.systems import SPARE, Answers
from stages.lib.replying.conversation_replies import ConversationReply
from stages.lib.weights.base import base_identity
from stages.lib.weights.models import load_model_entry
from tests.lib.conftest import tiny_directory
from tests.params_of import models, section

__all__ = ["tiny_directory"]

SECTION: dict[str, Any] = section("eval") | {
    "base": "tiny",
    "systems": ["base", "qlora"],
    "questions": 12,
    "max_new_tokens": 8,
    "temperature": 0.0,
    "batch_size": 4,
    "dtype": "float32",
    "similarity_model": "minilm-l6",
    "judge": "tiny",
    "judge_max_new_tokens": 20,
    "judge_margin": 0.0,
    "forgetting": {"kind": "files", "patterns": ["text/*.txt"]},
    "forgetting_texts": 3,
    "forgetting_tokens": 16,
    "bootstrap_samples": 300,
    "seed": 0,
}
KINDS = ["selected"] * 10 + ["unanswerable"] * 5 + ["false_premise"] * 4


def record(i: int, kind: str) -> dict[str, Any]:
    answer = f"answer {i}"
    messages = [
        {"role": "system", "content": "answer"},
        {"role": "user", "content": f"question {i}"},
        {"role": "assistant", "content": answer},
    ]
    change = {"change": {"type": "number", "true": str(i), "false": "99"}} if kind == "false_premise" else {}
    return {
        "id": f"r{i}",
        "kind": kind,
        "source": f"s{i}",
        "messages": messages,
        "context": f'a "text", {i}',
        "question": f"question {i}",
        "answer": answer,
    } | change


def write_records(kinds: list[str]) -> None:
    stage.TEST.parent.mkdir(parents=True, exist_ok=True)
    stage.TEST.write_text("".join(json.dumps(record(i, kind)) + "\n" for i, kind in enumerate(kinds)))


def write_params(**changes: Any) -> None:
    tiny = {"source": "path:tiny", "backend": "transformers", "judge_method": "likelihood"}
    Path("params.yaml").write_text(
        yaml.safe_dump({"models": {"tiny": tiny, "minilm-l6": models()["minilm-l6"]}, "eval": SECTION | changes})
    )


@pytest.fixture
def project(tmp_path: Path, tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / ".cache"))
    Path("tiny").symlink_to(tiny_directory)
    write_params()
    write_records(KINDS)
    Path("prompts.yaml").write_text(
        yaml.safe_dump({"reference_after_answer_prompt": "{question} {answer}", "pairwise_judge_prompt": "{question}"})
    )
    Path("text").mkdir()
    for i in range(4):
        Path(f"text/{i}.txt").write_text(f"one two three four {i} " * 10)
    torch.manual_seed(1)
    config = LoraConfig(r=2, lora_alpha=32, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapter = Path("models/tiny-qlora")
    get_peft_model(AutoModelForCausalLM.from_pretrained("tiny"), config).save_pretrained(str(adapter))
    AutoTokenizer.from_pretrained("tiny").save_pretrained(str(adapter))
    facts = {"base": "tiny", "base_identity": base_identity(load_model_entry("tiny")), "data_sha256": ""}
    (adapter / "llmill.json").write_text(json.dumps(facts))
    return tmp_path


def read_csv(name: str) -> list[dict[str, str]]:
    with (stage.OUT / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_base_against_adapter(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.main()
    metrics = read_results("eval")
    assert metrics["questions"] == {"in": 19, "kept": 12, "dropped": {"not_chosen": 7}}
    assert metrics["kinds"] == {"false_premise": 4, "selected": 4, "unanswerable": 4}
    assert metrics["absent"] == {}
    tuned = metrics["systems"]["qlora"]
    for name in ("token_f1", "token_f1_answerable", "rouge_l", "embedding_similarity", "refusal_recall"):
        assert tuned[name]["low"] <= tuned[name]["value"] <= tuned[name]["high"]
        assert 0 < tuned[name]["p"] <= tuned[name]["p_holm"] <= 1
    assert sum(tuned["win_rate"]["outcomes"].values()) == 12
    assert tuned["forgetting"]["ratio_low"] < tuned["forgetting"]["ratio"] < tuned["forgetting"]["ratio_high"]
    rows, marking = read_csv("evaluation.csv"), read_csv("evaluation_for_marking.csv")
    assert len(rows) == len(marking) == 12
    for row, blind in zip(rows, marking, strict=True):
        assert blind["winner"] == ""
        letters = {"A": "answer_a", "B": "answer_b"}
        assert blind[letters.pop(row["qlora_marked_as"])] == row["qlora"]
        assert blind[letters.popitem()[1]] == row["base"]
    assert {row["qlora_marked_as"] for row in rows} == {"A", "B"}
    assert (stage.OUT / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert "token_f1" in out
    assert f"perplexity, x base's{tuned['forgetting']['ratio']:>11.3f}" in out

    before = Path("metrics/full/eval.json").read_bytes()
    stage.main()
    assert Path("metrics/full/eval.json").read_bytes() == before


KILLED_AT = """
import os, pathlib, signal, sys
from stages.lib.cache.ledger import Ledger
put, left, kept = Ledger.put, [int(sys.argv[1])], []
def killing(self, answers):
    found = list(answers)
    put(self, found)
    kept.extend(found)
    left[0] -= 1
    if not left[0]:
        pathlib.Path("kept").write_text(str(len(kept)))
        os.kill(os.getpid(), signal.SIGKILL)
Ledger.put = killing
from stages.eval import main
main()
"""


@pytest.mark.parametrize("batches", [2, 6])  # in the middle of the base's replies, and of the adapter's
def test_a_killed_evaluation_asks_nothing_twice(project: Path, monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    root = Path(stage.__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, "-c", KILLED_AT, str(batches)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert not Path("metrics").exists()
    kept: list[str] = []
    put = Ledger.put

    def counted(self: Ledger, answers: Iterable[tuple[str, bytes]]) -> None:
        found = list(answers)
        kept.extend(key for key, _ in found)
        put(self, found)

    monkeypatch.setattr(Ledger, "put", counted)
    stage.main()
    resumed, results = len(kept), Path("metrics/full/eval.json").read_bytes()
    kept.clear()
    stage.main()
    assert kept == []
    shutil.rmtree(".cache")
    stage.main()
    before = int(Path("kept").read_text())
    assert before > batches
    assert len(set(kept)) == len(kept) == resumed + before
    assert Path("metrics/full/eval.json").read_bytes() == results


def test_another_adapter_is_asked_anew(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.main()
    before = {row["id"]: row for row in read_csv("evaluation.csv")}
    weights = Path("models/tiny-qlora/adapter_model.safetensors")
    save_file({name: 3 * tensor for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    stage.main()
    after = {row["id"]: row for row in read_csv("evaluation.csv")}
    assert {name: row["base"] for name, row in before.items()} == {name: row["base"] for name, row in after.items()}
    assert any(before[name]["qlora"] != after[name]["qlora"] for name in before)


def write_gguf(context: int) -> None:
    """A file that tells how many tokens it takes, and no more."""
    Path("models/gguf").mkdir(parents=True)
    writer = gguf.GGUFWriter("models/gguf/tiny.gguf", "llama")
    writer.add_context_length(context)
    writer.add_tensor("output.weight", np.zeros((1, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_question_that_some_system_cannot_read_is_dropped_before_all_are_asked(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base takes 512 tokens, the GGUF 256: what is longer is nobody's, and one question does not end the rest."""
    write_gguf(256)
    long = [record(100 + i, "selected") for i in range(2)]
    long[0]["messages"][1]["content"] = "word " * 230  # fits the base alone
    long[1]["messages"][1]["content"] = "word " * 600  # fits none
    with stage.TEST.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in long)
    write_params(systems=["base", "gguf"], questions=0)
    asked: list[int] = []

    def answered(file: Path, conversations: Any, asking: Any, longest: int, thinking: bool) -> Answers:
        asked.append(longest)
        reply = ConversationReply(text="a reply", tokens=2, finished=True)
        return Answers(replies=[reply for _ in conversations], losses=None)

    monkeypatch.setattr(stage, "ask_gguf", answered)
    stage.main()
    assert read_results("eval")["questions"] == {"in": 21, "kept": 19, "dropped": {"too_long": 2}}
    assert 0 < asked[0] <= 256 - SPARE - SECTION["max_new_tokens"]
    write_params(systems=["base", "gguf"], questions=0, max_new_tokens=200)
    with pytest.raises(ValueError, match=r"max_new_tokens: 200 leaves no room for a prompt: models/gguf/tiny.gguf"):
        stage.main()


def test_a_split_of_one_kind_says_what_it_cannot_measure(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_records(["selected"] * 7)
    stage.main()
    metrics = read_results("eval")
    assert set(metrics["absent"]) == {"refusal_precision", "refusal_recall", "correction_rate"}
    assert "refusal_recall" not in metrics["systems"]["qlora"]
    out = capsys.readouterr().out
    assert "absent: refusal_recall: no unanswerable question was asked" in out
    assert "only 7 questions" in out


def test_an_adapter_of_another_base_is_refused_before_anything_is_asked(project: Path) -> None:
    facts = Path("models/tiny-qlora/llmill.json")
    facts.write_text(facts.read_text().replace("path:tiny", "path:other"))
    with pytest.raises(ValueError, match="the adapter is of the base"):
        stage.main()
    assert not stage.OUT.exists()


def test_a_truncated_gguf_is_refused(project: Path) -> None:
    import gguf

    write_params(systems=["base", "gguf"])
    with pytest.raises(ValueError, match=r"expected one \.gguf file"):
        stage.main()
    file = Path("models/gguf/tiny.gguf")
    file.parent.mkdir()
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_tensor("token_embd.weight", np.zeros((64, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(ValueError, match="not a whole GGUF file"):
        stage.main()
    assert not stage.OUT.exists()


def test_questions_come_in_turn_from_each_kind_and_long_ones_are_counted() -> None:
    records = [record(i, kind) for i, kind in enumerate(KINDS)]
    lengths = [500 if i == 0 else 10 for i in range(len(records))]
    chosen, counts = choose_questions(records, lengths, limit=100, questions=0, seed=0)
    assert counts == {"in": 19, "kept": 18, "dropped": {"too_long": 1}}
    assert {one["kind"] for one in chosen[:3]} == set(KINDS)
    assert chosen == choose_questions(records[::-1], lengths[::-1], limit=100, questions=0, seed=0)[0]
    assert chosen != choose_questions(records, lengths, limit=100, questions=0, seed=1)[0]


def test_a_record_without_an_answer_turn_is_named() -> None:
    with pytest.raises(ValueError, match="record 'r1'"):
        prompt_of(record(1, "selected") | {"messages": [{"role": "user", "content": "question"}]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"questions": 9}, "questions: 9 is below 10"),
        ({"systems": ["qlora"]}, "begin with base"),
        ({"systems": ["base", "qlora", "qlora"]}, "each once"),
        ({"forgetting": {"kind": "letters"}}, "forgetting.kind"),
    ],
)
def test_params_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(stage.Params, SECTION | change, "eval")


def test_forgetting_is_what_a_system_lost_against_the_base() -> None:
    losses = np.linspace(2.0, 3.0, 20)
    answers = {
        "base": Answers(replies=[], losses=losses),
        "qlora": Answers(replies=[], losses=losses + 0.2),
        "gguf": Answers(replies=[], losses=None),
    }
    table: dict[str, dict[str, dict[str, Any]]] = {"base": {}, "qlora": {}, "gguf": {}}
    absent = stage.add_forgetting(table, answers, from_mapping(stage.Params, SECTION, "eval"))
    found = table["qlora"]["forgetting"]
    assert found["ratio"] == pytest.approx(np.exp(0.2))
    assert found["perplexity"] > found["perplexity_before"] == pytest.approx(np.exp(losses.mean()))
    assert "forgetting" not in table["base"]
    assert list(absent) == ["gguf.forgetting"]


def test_a_reply_is_compared_with_its_own_reference_and_an_empty_one_is_worth_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Letters:
        """Texts with the same first letter are the same; a blank is like "a"."""

        def encode_documents(self, texts: list[str]) -> Any:
            return np.array([[1.0, 0.0] if text[0] in " a" else [0.6, 0.8] for text in texts])

    monkeypatch.setattr(stage, "open_embedder", lambda name, entry: nullcontext(Letters()))
    records = [{"answer": "a"}, {"answer": "b"}, {"answer": "a"}, {"answer": "a"}]
    replies = [ConversationReply(text=text, tokens=1, finished=True) for text in ("all", "any", "", " \n")]
    found = stage.similarities(from_mapping(stage.Params, SECTION, "eval"), {"base": replies}, records)
    assert found == {"base": [1.0, 0.6, 0.0, 0.0]}
