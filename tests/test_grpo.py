"""The stage grpo on a tiny model: it learns, resumes after kill -9, its counts add up, bad input."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import TrainerCallback

import stages.grpo
from stages.grpo import Params, adapter_directory, main
from stages.lib.core.metrics import read_results
from stages.lib.core.params import from_mapping
from stages.lib.core.records import read_jsonl, write_jsonl
from stages.lib.embedding.embedders import open_embedder
from stages.lib.grpo.rewards import format_reward
from stages.lib.weights.models import load_model_entry, locate
from tests.lib.conftest import tiny_directory
from tests.lib.grpo.test_reward_audit import SAMPLES
from tests.lib.grpo.test_rewards import SAMPLE, open_letters
from tests.params_of import section

__all__ = ["tiny_directory"]  # a fixture
ROOT = Path(__file__).parent.parent
SETTINGS: dict[str, Any] = section("grpo") | {
    "base": "tiny",
    "steps": 4,
    "prompts_per_step": 2,
    "num_generations": 4,
    "micro_batch": 4,
    "max_new_tokens": 8,
    "max_prompt_length": 1500,
    "lr": 1.0e-2,
    "beta": 0.01,
    "backend": "hf",
    "dtype": "auto",
    "gradient_checkpointing": "none",
    "r": 16,
    "lora_alpha": 32,
    "temperature": 1.0,
    "shots": 1,
    "test_limit": 0,
    "audit_replies": 2,
    "reward_weights": {"format": 1.0, "overlap": 1.0, "similarity": 0.5, "grounded": 0.5, "length": 0.25},
    "length_words": [2, 30],
    "similarity_model": "letters",
    "audit_prompts": 2,
    "checkpoint_every": 1,
    "bootstrap_samples": 100,
}


def record(number: int, **changes: Any) -> dict[str, Any]:
    sample = SAMPLES[number % 3]
    asked = f"{sample.context}\n{sample.question} Reply: reasoning ##### answer"
    return {
        "id": f"q{number}",
        "source": f"d{number}",
        "question": sample.question,
        "context": sample.context,
        "reasoning": sample.reasoning,
        "answer": sample.answer,
        "text": sample.reference,
        "messages": [{"role": "user", "content": asked}],
        **changes,
    }


def make_project(place: Path, model: Path, **changes: Any) -> Path:
    """A project with a random base model and 10 questions, one of them too long."""
    torch.set_num_threads(1)
    lines = [record(number) for number in range(9)]
    lines.append(record(9, messages=[{"role": "user", "content": "long " * 500}]))
    for name, part in (("train", lines[:5] + lines[9:]), ("val", lines[5:7]), ("test", lines[7:9])):
        write_jsonl(place / f"data/instruct/qar_{name}.jsonl", part)
    entry = {"source": f"path:{model}", "backend": "transformers", "max_length": 2048}  # its config tells of 256
    models = dict.fromkeys(("tiny", "letters"), entry)
    (place / "params.yaml").write_text(yaml.safe_dump({"models": models, "grpo": SETTINGS | changes}))
    return place


@pytest.fixture
def project(tmp_path: Path, tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(make_project(tmp_path, tiny_directory))
    monkeypatch.setattr(stages.grpo, "open_embedder", open_letters)
    return tmp_path


def base_place() -> Path:
    return locate(load_model_entry("tiny"))


def test_the_whole_stage(project: Path) -> None:
    main()
    found = read_results("grpo")
    assert found["counts"]["train"] == {"in": 6, "kept": 4, "dropped": {"prompt_too_long": 1, "worked_example": 1}}
    assert found["counts"]["test"] == {"in": 2, "kept": 2, "dropped": {}}
    assert found["steps"] == 4
    assert set(found["format_gain"]) == {"format"}
    assert set(found["content_gain"]) == {"answer_f1", "answer_similarity"}
    assert set(found["reward_gain"]) == {"reward"}
    for gain in (g for part in ("format_gain", "content_gain", "reward_gain") for g in found[part].values()):
        assert gain["gain"] == pytest.approx(gain["tuned"] - gain["base"], abs=1e-5)
        assert gain["low"] <= gain["gain"] <= gain["high"]
    assert found["audit"]["failures"] == []
    assert found["audit"]["replies"] == 4
    header, *rows = Path("metrics/grpo_curve.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3", "4"]
    for column in ("zero_variance_groups", "completion_tokens", "clipped_share", "kl", "entropy", "grounded_std"):
        assert column in header.split(",")
    with Path("data/grpo/replies.csv").open(newline="") as file:
        shown = list(csv.DictReader(file))
    assert [row["id"] for row in shown] == ["q7", "q8"]
    content = found["content_gain"]["answer_f1"]
    for system in ("base", "tuned"):
        assert sum(float(row[f"{system}_answer_f1"]) for row in shown) / 2 == pytest.approx(content[system], abs=1e-5)
    with Path("data/grpo/rewards.csv").open(newline="") as file:
        drawn = list(csv.DictReader(file))
    rewarded = {name.removesuffix("_mean") for name in header.split(",") if name.endswith("_mean")}
    assert {row["reward"] for row in drawn} == {"weighted sum", *rewarded} and len(drawn) == 4 * (1 + len(rewarded))
    assert Path("data/grpo/curve.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(Path("metrics/grpo.json").read_text())["grpo"]["f1"] == content["tuned"]
    facts = json.loads(Path("models/tiny-grpo/llmill.json").read_text())
    assert facts["base"] == "tiny"
    names = {file.name for file in Path("models/tiny-grpo").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md", "tokenizer_config.json"} <= names
    # A second run finds all done: it trains no step again and changes nothing.
    before = [Path(f).read_bytes() for f in ("metrics/full/grpo.json", "models/tiny-grpo/adapter_model.safetensors")]
    main()
    assert json.loads(Path("timings/grpo.json").read_text())["resumed_from_step"] == 4
    assert before == [
        Path(f).read_bytes() for f in ("metrics/full/grpo.json", "models/tiny-grpo/adapter_model.safetensors")
    ]


def test_answers_are_embedded_once_and_kept(
    tmp_path: Path, tiny_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_project(tmp_path, tiny_directory, similarity_model="minilm-l6", steps=1))
    entry = load_model_entry("minilm-l6", ROOT / "params.yaml")
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["models"]["minilm-l6"] = asdict(entry)
    Path("params.yaml").write_text(yaml.safe_dump(content))
    main()
    with open_embedder("minilm-l6", entry) as embedder:
        answers = [record["answer"] for record in read_jsonl(Path("data/instruct/qar_train.jsonl"))]
        embedder.encode_documents(answers[:1])
        assert embedder.computed == 0


def test_a_reward_that_is_topped_stops_before_training(project: Path) -> None:
    make_project(project, base_place(), reward_weights={"format": 1.0, "length": 5.0}, length_words=[40, 60])
    with pytest.raises(ValueError, match="the reward audit failed"):
        main()
    assert not Path("metrics").exists()
    assert not Path("models").exists()
    assert not list(Path(".cache/grpo").glob("*/checkpoint-*"))


def test_a_reward_that_is_nan_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.lib.grpo.rewards.length_reward", lambda sample, reply, low, high: float("nan"))
    with pytest.raises(ValueError, match=r"reward 'length' is nan for sample 'q5'.*weights\.length"):
        main()
    assert not Path("models").exists()


def test_one_answer_to_everything(project: Path) -> None:
    file = project / "data/instruct/qar_train.jsonl"
    write_jsonl(file, [line | {"answer": "yes"} for line in read_jsonl(file)])
    with pytest.raises(ValueError, match=r"qar_train\.jsonl: all 4 answers are 'yes'"):
        main()
    assert not Path("models").exists()


def test_no_prompt_that_fits(project: Path) -> None:
    make_project(project, base_place(), max_prompt_length=10)
    with pytest.raises(ValueError, match=r"qar_train\.jsonl: none of 6 records can be asked.*max_prompt_length"):
        main()


def test_what_decides_the_adapter_is_in_its_directorys_name() -> None:
    params = from_mapping(Params, SETTINGS, "params.yaml: grpo")
    before = adapter_directory(params, ["data"])
    for kept in ({"checkpoint_every": 7}, {"micro_batch": 2}, {"test_limit": 1}, {"gradient_checkpointing": "full"}):
        assert adapter_directory(replace(params, **kept), ["data"]) == before
    for changed in (
        {"steps": 5},
        {"lr": 0.5},
        {"beta": 0.5},
        {"temperature": 0.5},
        {"reward_weights": {"format": 1.0}},
    ):
        assert adapter_directory(replace(params, **changed), ["data"]) != before
    assert adapter_directory(params, ["other"]) != before


def test_another_micro_batch_is_the_same_training(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = Path("models/tiny-grpo/adapter_model.safetensors")
    make_project(project, base_place(), dtype="float32")  # in bfloat16 sums in another order differ visibly
    main()
    whole = load_file(adapter)
    shutil.rmtree(".cache")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("stages.lib.grpo.run.step_printer", lambda steps: stopping_after(2))
        main()
    make_project(project, base_place(), micro_batch=2, dtype="float32")
    main()
    assert json.loads(Path("timings/grpo.json").read_text())["resumed_from_step"] == 2
    found = load_file(adapter)
    assert all(torch.allclose(found[name], whole[name], atol=1e-4) for name in whole)
    (directory,) = Path(".cache/grpo").iterdir()
    (last,) = directory.glob("checkpoint-*")
    assert not {"optimizer.pt", "scheduler.pt"} & {path.name for path in last.iterdir()}


def stopping_after(step: int) -> TrainerCallback:
    class Stop(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step > step:
                raise KeyboardInterrupt

    return Stop()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward_weights": {}}, "reward_weights: {}: none may be negative, one must be above 0"),
        ({"reward_weights": {"formt": 1.0}}, "reward_weights.*'formt' is not allowed"),
        ({"reward_weights": {"format": -1.0, "overlap": 2.0}}, "reward_weights: .*none may be negative"),
        ({"length_words": [9, 3]}, r"length_words: \[9, 3\]"),
        ({"loss_type": "ppo"}, "loss_type: 'ppo' is not allowed"),
        ({"audit_tolerance": 1.0}, r"audit_tolerance: 1\.0 is not in 0\.\.1"),
        ({"shots": -1}, "shots: -1 is negative"),
    ],
)
def test_bad_params_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping(Params, SETTINGS | changes, "params.yaml: grpo")


def test_a_training_that_is_done_survives_what_comes_after_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("after the training")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="after the training"):
        patch.setattr(stages.grpo, "measure_replies", fails)
        main()
    card = Path("models/tiny-grpo/README.md")
    assert "Not measured yet." in card.read_text()
    shutil.rmtree("models")  # as DVC does before it runs a stage again
    monkeypatch.setattr("stages.lib.grpo.run.train", fails)
    main()
    assert json.loads(Path("timings/grpo.json").read_text())["resumed_from_step"] == 4
    assert "answer f1 gain" in card.read_text()
    (directory,) = Path(".cache/grpo").iterdir()
    learned = load_file(directory / "checkpoint-4/adapter_model.safetensors")
    found = load_file("models/tiny-grpo/adapter_model.safetensors")
    assert all(torch.equal(found[name], learned[name]) for name in found.keys() | learned.keys())


@pytest.mark.parametrize("point", ["publish", "measure_replies"])
def test_a_kill_after_the_last_step_costs_no_training(
    project: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    script = (
        "import os, signal, stages.grpo; from tests.lib.grpo.test_rewards import open_letters; "
        "stages.grpo.open_embedder = open_letters; "
        f"stages.grpo.{point} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL); stages.grpo.main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL

    def again(*_: Any, **__: Any) -> None:
        raise AssertionError("it trains again")

    monkeypatch.setattr("stages.lib.grpo.run.train", again)
    main()
    assert Path("models/tiny-grpo/adapter_model.safetensors").exists()
    assert read_results("grpo")["steps"] == 4


@pytest.fixture(params=["stand-in", "unsloth"])
def unsloth(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsloth in reach of the processes that the stage starts: a stand-in, or the real one's CPU fallback."""
    place = os.environ.get("LLMILL_UNSLOTH", "") if request.param == "unsloth" else str(ROOT / "tests/stand_ins")
    if not place:
        pytest.skip("LLMILL_UNSLOTH names no folder with the unpacked wheels of unsloth and unsloth_zoo")
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(stages.grpo, "check_unsloth", lambda checkpointing: None)  # that there is a GPU


def test_unsloth_trains_in_its_own_process_and_its_result_is_kept(
    project: Path, unsloth: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its patched forward passes are not what base and tuned are measured by, and it logs no entropy."""
    make_project(project, base_place(), backend="unsloth", steps=2, dtype="float32")
    main()
    assert "step 2/2: loss" in capfd.readouterr().out
    assert "unsloth" not in sys.modules
    found = read_results("grpo")
    assert found["steps"] == 2 and set(found["format_gain"]) == {"format"}
    with Path("metrics/grpo_curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2"]
    assert all(row["loss"] and row["reward"] and row["overlap_mean"] for row in rows)
    assert Path("data/grpo/curve.png").exists()
    assert Path("models/tiny-grpo/adapter_model.safetensors").exists()

    def again(*_: Any, **__: Any) -> None:
        raise AssertionError("it trains again")

    monkeypatch.setattr("stages.lib.grpo.run.in_own_process", again)
    main()
    assert read_results("grpo") == found


def test_a_reward_that_is_nan_stops_unsloths_process(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests/stand_ins"))
    monkeypatch.setattr(stages.grpo, "check_unsloth", lambda checkpointing: None)
    monkeypatch.setattr(stages.grpo, "audit_base", lambda *_, **__: {})
    monkeypatch.setattr("stages.lib.grpo.rewards.length_reward", lambda sample, reply, low, high: float("nan"))
    make_project(project, base_place(), backend="unsloth", steps=2, dtype="float32")
    with pytest.raises(ValueError, match="reward 'length' is nan for sample"):
        main()


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_unsloth_without_a_gpu(project: Path) -> None:
    make_project(project, base_place(), backend="unsloth")
    with pytest.raises(ValueError, match=r"unsloth needs a CUDA GPU.*backend: hf"):
        main()


@pytest.mark.landing
@pytest.mark.slow
def test_killed_and_run_again_gives_the_same_bytes(
    tmp_path: Path, tiny_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (make_project(tmp_path / name, tiny_directory, steps=30) for name in ("one", "other"))
    script = (
        "import stages.grpo; from tests.lib.grpo.test_rewards import open_letters; "
        "stages.grpo.open_embedder = open_letters; stages.grpo.main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    killed = subprocess.Popen([sys.executable, "-c", script], cwd=one, env=environment)
    limit = time.monotonic() + 90
    while time.monotonic() < limit and not any((one / ".cache/grpo").glob("*/checkpoint-5")):
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (one / "models").exists()
    monkeypatch.setattr(stages.grpo, "open_embedder", open_letters)
    torch.set_num_threads(1)  # as the killed process: with more, sums round otherwise, and sampled replies drift apart
    for place in (one, other):
        monkeypatch.chdir(place)
        main()
    assert 4 <= json.loads((one / "timings/grpo.json").read_text())["resumed_from_step"] < 30
    assert json.loads((other / "timings/grpo.json").read_text())["resumed_from_step"] == 0
    for file in ("models/tiny-grpo/adapter_model.safetensors", "metrics/grpo_curve.csv", "metrics/full/grpo.json"):
        assert (one / file).read_bytes() == (other / file).read_bytes(), file


@pytest.mark.slow
def test_an_exact_reward_is_learned(tmp_path: Path) -> None:
    """A random model learns `reasoning ##### answer` from the format reward alone: under 10% to 90% and more."""
    from tests.lib.grpo.toy_format import learn_format

    before, after, seconds = learn_format(tmp_path)
    print(f"toy task: {before:.1%} -> {after:.1%} in {seconds:.0f} s")
    assert before < 0.1
    assert after >= 0.9
    assert seconds < 300


def test_the_toy_reward_is_the_format() -> None:
    assert format_reward(SAMPLE, "w1 ##### w2 w3") == 1
