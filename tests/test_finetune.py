"""The stage finetune on a tiny model: it learns, it resumes after kill -9, its counts add up, bad input."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from stages.finetune import Params, headline, main
from stages.lib.core.metrics import read_results
from stages.lib.core.params import from_mapping
from stages.lib.core.records import read_jsonl
from stages.lib.gpt.checkpoints import TokenizerFacts, load_model, read_template
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.tokens.instruction_template import TEMPLATE
from stages.lib.tokens.tokenizers import load_tokenizer
from tests.lib.curves.written_curve import read_curve
from tests.lib.finetuning.sharded_text import write_shards
from tests.lib.gpt.saved_model import save_model
from tests.params_of import section

ROOT = Path(__file__).parent.parent
BYTES = load_tokenizer("byte")
FACTS = TokenizerFacts(name="byte", identity=BYTES.identity, vocab_size=260, eot=BYTES.eot)
SETTINGS: dict[str, Any] = section("finetune") | {
    "sources": [{"kind": "instructions", "patterns": ["records.jsonl"]}],
    "loss_on": "output",
    "steps": 40,
    "batch_tokens": 8 * 64,
    "micro_batch": 8,
    "lr": 1.0e-2,
    "precision": "float32",
    "compile": False,
    "processes": 1,
    "log_every": 1,
    "eval_every": 10,
    "checkpoint_every": 5,
    "answer_limit": 10,
    "max_new_tokens": 14,
    "text_windows": 5,
}
LONG, BROKEN = 3, 2


def records() -> list[dict[str, str]]:
    return [{"instruction": f"Say {i}.", "input": "", "output": f"It is {i % 7}."} for i in range(120)]


def make_project(place: Path, facts: TokenizerFacts = FACTS, vocab_size: int = 320, **changes: Any) -> Path:
    """A project with a random base model, 120 good records and some that are none."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=vocab_size, context=64, n_layer=1, n_head=2, d_model=32, dropout=0.1)
    save_model(place / "models/gpt/best", GPT(config), facts)
    lines = [json.dumps(record) for record in records()]
    lines += [json.dumps({"instruction": "x" * 70, "output": f"{i}"}) for i in range(LONG)] + ["{"] * BROKEN
    (place / "records.jsonl").write_text("\n".join(lines))
    (place / "params.yaml").write_text(yaml.safe_dump({"finetune": SETTINGS | changes}))
    return place


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(make_project(tmp_path))
    return tmp_path


def metrics(place: Path = Path()) -> dict[str, Any]:
    found: dict[str, Any] = read_results("finetune", place)
    return found


def test_perplexity_falls_and_counts_add_up(project: Path) -> None:
    main()
    found = metrics()
    assert found["examples"] == {
        "in": 120 + LONG + BROKEN,
        "kept": 120,
        "dropped": {"broken_json": BROKEN, "longer_than_context": LONG},
    }
    held_out, dropped = (
        read_jsonl(Path("data/finetune/held_out.jsonl")),
        read_jsonl(Path("data/finetune/dropped.jsonl")),
    )
    assert found["train"] + found["held_out"] == 120
    assert found["held_out"] == sum(not record["prompt"].startswith("xx") for record in held_out) > 3
    assert len(dropped) == LONG + BROKEN
    losses = found["held_out_losses"]
    assert losses["output_before"]["loss"] == pytest.approx(5.77, abs=0.2)  # ln 320: it knows nothing
    assert losses["output_after"]["loss"] < 1.2
    assert losses["output_after"]["loss"] < losses["all_after"]["loss"]  # prompts were not trained on
    after = losses["output_after"]
    assert after["perplexity"] == pytest.approx(math.exp(after["loss"]), rel=1e-4)
    points = read_curve(Path("metrics/finetune_curve.csv"))
    assert [point.step for point in points] == list(range(1, 41))
    assert min(p.val_loss for p in points if p.val_loss is not None) == pytest.approx(
        losses["output_after"]["loss"], rel=1e-4
    )
    model, tokenizer = load_model(Path("models/gpt-finetuned"))
    assert (model.config.context, tokenizer) == (64, "byte")
    assert Path("data/finetune/curve.png").stat().st_size > 5000


def test_loss_on_all_learns_the_prompts_too(project: Path) -> None:
    main()
    on_output = metrics()["held_out_losses"]
    make_project(project, loss_on="all")
    main()
    on_all = metrics()["held_out_losses"]
    assert on_all["all_after"]["loss"] < on_output["all_after"]["loss"] - 0.5
    assert on_all["all_before"] == on_output["all_before"]


def test_killed_and_run_again_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = make_project(tmp_path / "one", steps=150), make_project(tmp_path / "other", steps=150)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    killed = subprocess.Popen([sys.executable, "-m", "stages.finetune"], cwd=one, env=environment)
    limit = time.monotonic() + 60
    while time.monotonic() < limit and not any((one / ".cache/finetune").glob("*/step_0000002*")):
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (one / "models/gpt-finetuned").exists()
    for place in (one, other):
        monkeypatch.chdir(place)
        main()
    assert 0 < json.loads((one / "timings/finetune.json").read_text())["resumed_from_step"] < 150
    assert json.loads((other / "timings/finetune.json").read_text())["resumed_from_step"] == 0
    told = ("metrics/finetune_curve.csv", "metrics/full/finetune.json", "data/finetune/answers.jsonl")
    for file in ("models/gpt-finetuned/model.safetensors", *told):
        assert (one / file).read_bytes() == (other / file).read_bytes(), file


def test_the_finetuned_model_answers_held_out_prompts(project: Path) -> None:
    make_project(project, steps=150)
    main()
    found = metrics()["answers"]
    records = read_jsonl(Path("data/finetune/answers.jsonl"))
    assert found["count"] == len(records) == min(10, metrics()["held_out"])
    held_out = {(r["prompt"], r["answer"], r["source"]) for r in read_jsonl(Path("data/finetune/held_out.jsonl"))}
    assert {(r["prompt"], r["reference"], r["source"]) for r in records} <= held_out
    for record in records:
        assert record["answer"].startswith("It is ") and record["ended"]  # "It is 3." in the form it was taught
        assert not record["answer_before"].startswith("It is ")
    exact = sum(record["answer"] == record["reference"] for record in records) / len(records)
    assert found["after"]["exact_match"]["value"] == pytest.approx(exact)
    assert found["before"]["exact_match"]["value"] == 0
    assert (found["before"]["ended"]["value"], found["after"]["ended"]["value"]) == (0, 1)
    labels = found["classified"]["sources[0]"]["after"]  # 120 answers, of which 7 differ
    assert sum(label["support"] for label in labels["labels"].values()) == len(records)
    assert labels["accuracy"]["value"] == pytest.approx(exact)
    assert read_template(Path("models/gpt-finetuned")) == TEMPLATE
    assert read_template(Path("models/gpt/best")) == ""


def test_forgetting_is_measured_on_the_pretraining_text(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main()
    assert "forgetting is not measured: data/shards/manifest.json is not there" in capsys.readouterr().out
    assert metrics()["pretraining_text"]["skipped"].startswith("data/shards/manifest.json is not there")
    assert "forgetting" not in headline(metrics())["finetune"]
    write_shards()
    main()
    text = metrics()["pretraining_text"]
    assert text["windows"] == 5
    assert text["before"]["loss"] == pytest.approx(5.77, abs=0.2)  # ln 320: it knew nothing
    assert text["after"]["loss"] != text["before"]["loss"]
    shown = headline(metrics())["finetune"]
    assert shown["forgetting"] == pytest.approx(text["after"]["perplexity"] / text["before"]["perplexity"])
    assert "on pretraining text 5." in capsys.readouterr().out


def test_a_learning_rate_above_pretrainings_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for peak, told in ((5.0e-3, True), (2.0e-2, False)):
        Path("models/gpt/best/state.json").write_text(json.dumps({"params": {"lr": peak}}))
        main()
        assert ("lr 0.01 is above the 0.005 that the base" in capsys.readouterr().out) == told


def test_trackers_are_told(project: Path) -> None:
    pytest.importorskip("dvclive", reason="dvclive is not installed (optional)")
    make_project(project, trackers=["dvclive"])
    main()
    (told,) = Path(".cache/finetune").glob("*/dvclive/plots/metrics/train_loss.tsv")
    assert len(told.read_text().splitlines()) == 41


def test_no_base_model(project: Path) -> None:
    shutil.rmtree("models")
    with pytest.raises(ValueError, match=r"models/gpt/best/config\.json: no such file"):
        main()


def test_another_tokenizer_than_the_models(project: Path) -> None:
    make_project(project, TokenizerFacts(name="byte", identity="old", vocab_size=260, eot=258))
    with pytest.raises(ValueError, match="another tokenizer than 'byte' is now"):
        main()


def test_no_row_for_sep(project: Path) -> None:
    make_project(project, vocab_size=259)
    with pytest.raises(ValueError, match="no sep token within the model's 259 rows"):
        main()


def test_nothing_to_learn_from(project: Path) -> None:
    Path("records.jsonl").write_text("{")
    with pytest.raises(ValueError, match="no example is left of 0"):
        main()
    assert not Path("metrics").exists()
    assert not Path("models/gpt-finetuned").exists()


def test_nothing_to_learn_from_says_which_keys_were_looked_for(project: Path) -> None:
    Path("records.jsonl").write_text('{"text": "x"}\n{"text": "y"}\n{"instruction": "i", "output": ""}')
    with pytest.raises(ValueError, match="no example is left of 0 that could be read") as caught:
        main()
    said = str(caught.value)
    assert "dropped: 2 no_instruction, 1 no_output" in said
    assert "2 no_instruction: looked for the keys instruction, prompt, question, query" in said
    assert "found text; the first: records.jsonl:1" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": []}, "sources: no source is named"),
        ({"sources": [{"kind": "x"}]}, r"sources\[0\]\.kind: 'x' is not allowed"),
        ({"loss_on": "prompt"}, "loss_on: 'prompt' is not allowed"),
        ({"val_fraction": 1.0}, r"val_fraction: 1\.0 is not between 0 and 1"),
        ({"epochs": 3}, "epochs: unknown key"),
        ({"max_new_tokens": 0}, "max_new_tokens at least 1"),
        ({"answer_limit": -1}, "answer_limit and text_windows are at least 0"),
    ],
)
def test_bad_params_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(Params, SETTINGS | changes, "params.yaml: finetune")
