import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from stages import qlora
from stages.lib.core.metrics import read_results
from stages.lib.core.records import write_jsonl
from stages.lib.lora import sft
from stages.lib.lora.chat_set import encode
from stages.lib.lora.validation_losses import fall
from tests.lib.lora.tiny_chat import chat_record, params_text, tiny_tokenizer, write_tiny_base
from tests.params_of import section

SECTION = section("qlora") | {
    "base": "tiny",
    "backend": "hf",
    "dtype": "float32",
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "lr": 1.0e-2,
    "warmup_fraction": 0.1,
    "weight_decay": 0.0,
    "clip": 1.0,
    "epochs": 2.0,
    "steps": 8,
    "micro_batch": 2,
    "gradient_accumulation_steps": 2,
    "max_length": 200,
    "packing": False,
    "gradient_checkpointing": "selective",
    "train_limit": 0,
    "val_limit": 0,
    "checkpoint_every": 2,
    "memory_share": 1.0,
    "bootstrap_samples": 500,
    "seed": 1,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def project(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a tiny base and sixteen training records."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / ".cache"))
    write_params(tmp_path, base)
    data = tmp_path / "data/instruct"
    write_jsonl(data / "synthetic_qa_train.jsonl", [chat_record(i) for i in range(16)])
    write_jsonl(data / "synthetic_qa_val.jsonl", [chat_record(i) for i in range(20, 28)])
    return tmp_path


def write_params(project: Path, base: Path, **changed: object) -> None:
    section = yaml.safe_dump({"qlora": SECTION | changed})
    (project / "params.yaml").write_text(params_text(base) + section, encoding="utf-8")


def test_trains_an_adapter(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    qlora.main()
    metrics = read_results("qlora", project)
    assert metrics["train"] == {"in": 16, "kept": 16, "dropped": {}}
    assert metrics["val_loss_fall_low"] > 0
    assert metrics["steps"] == 8
    printed = capsys.readouterr().out
    assert "⟦Thing" in printed and "<|im_end|>⟧" in printed
    assert sorted(path.name for path in (project / "models").iterdir()) == ["tiny-qlora"]
    names = {path.name for path in (project / "models/tiny-qlora").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "chat_template.jinja", "README.md"} <= names
    facts = json.loads((project / "models/tiny-qlora/llmill.json").read_text())
    assert facts["data_sha256"] == metrics["data_sha256"]
    card = (project / "models/tiny-qlora/README.md").read_text()
    assert metrics["data_sha256"] in card and "val loss fall" in card
    assert str(project) not in card + (project / "models/tiny-qlora/adapter_config.json").read_text()


@pytest.mark.landing
@pytest.mark.slow  # two trainings and a process that dies
def test_a_killed_training_goes_on_as_if_it_had_not_been(project: Path, base: Path) -> None:
    qlora.main()
    whole = (project / "metrics/qlora_curve.csv").read_text()
    metrics = (project / "metrics/full/qlora.json").read_text()
    shutil.rmtree(project / ".cache")
    script = (
        "import os, signal\nfrom stages import qlora\nfrom transformers import TrainerCallback\n"
        "from stages.lib.lora import sft\nmake = sft.make_trainer\n"
        "class Kill(TrainerCallback):\n    def on_step_end(self, args, state, control, **_):\n"
        "        if state.global_step == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "def made(*a, **k):\n    trainer = make(*a, **k)\n    trainer.add_callback(Kill())\n    return trainer\n"
        "sft.make_trainer = made\nqlora.main()\n"
    )
    root = Path(qlora.__file__).parent.parent
    killed = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(root)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    torn = next((project / ".cache/qlora").iterdir()) / "checkpoint-5"
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"global_step": 5')  # a save that the kill cut short
    qlora.main()
    assert not torn.exists()
    assert json.loads((project / "timings/qlora.json").read_text())["resumed_from_step"] == 4
    assert (project / "metrics/qlora_curve.csv").read_text() == whole
    assert (project / "metrics/full/qlora.json").read_text() == metrics


@pytest.mark.parametrize("point", ["publish", "fall"])  # before the adapter is there, and before it is measured
def test_a_kill_after_the_last_step_costs_no_training(
    project: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    script = (
        "import os, signal\nfrom stages import qlora\n"
        f"qlora.{point} = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\nqlora.main()\n"
    )
    root = Path(qlora.__file__).parent.parent
    killed = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(root)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    card = project / "models/tiny-qlora/README.md"
    assert card.exists() == (point == "fall")
    assert point == "publish" or "Not measured yet." in card.read_text()

    def again(*_: Any, **__: Any) -> None:
        raise AssertionError("it is trained, or measured, again")

    monkeypatch.setattr(sft, "make_trainer", again)
    if point == "fall":
        monkeypatch.setattr(qlora, "load_quantized", again)  # both losses are kept
    qlora.main()
    assert json.loads((project / "timings/qlora.json").read_text())["resumed_from_step"] == 8
    assert read_results("qlora", project)["val_loss_fall_low"] > 0
    assert "val loss fall" in card.read_text()
    assert len((project / "metrics/qlora_curve.csv").read_text().splitlines()) == 9


def test_unsloth_trains_and_is_measured_by_us(project: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(qlora.__file__).parent.parent / "tests/stand_ins"))
    monkeypatch.setattr(qlora, "check_unsloth", lambda checkpointing: None)  # that there is a GPU
    write_params(project, base, backend="unsloth", gradient_checkpointing="none", lora_dropout=0.0)
    qlora.main()
    assert "unsloth" not in sys.modules
    assert read_results("qlora", project)["val_loss_fall_low"] > 0


class StoppedError(Exception):
    """Ends a training from inside, as a kill would."""


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Has the next trainings die in the step behind this one."""
    from transformers import TrainerCallback

    class Stop(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step > step:
                raise StoppedError

    make = sft.make_trainer

    def made(*arguments: Any, **named: Any) -> Any:
        trainer = make(*arguments, **named)
        trainer.add_callback(Stop())
        return trainer

    monkeypatch.setattr(sft, "make_trainer", made)


def adapter(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = load_file(project / "models/tiny-qlora/adapter_model.safetensors")
    return found


def test_another_cut_into_micro_batches_is_the_same_training(
    project: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_params(project, base, lora_dropout=0.0)
    qlora.main()
    whole = adapter(project)
    shutil.rmtree(project / ".cache")
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        stop_after(patch, 4)
        qlora.main()
    # What the memory check advises: fewer samples at once, and more of these micro-batches.
    write_params(
        project, base, lora_dropout=0.0, micro_batch=1, gradient_accumulation_steps=4, gradient_checkpointing="full"
    )
    qlora.main()
    assert json.loads((project / "timings/qlora.json").read_text())["resumed_from_step"] == 4
    for name, tensor in adapter(project).items():
        assert torch.allclose(tensor, whole[name], atol=2e-4), name
    assert len(list((project / ".cache/qlora").iterdir())) == 1


def test_a_finished_training_keeps_its_adapter_alone(project: Path) -> None:
    qlora.main()
    before = {path.name: path.read_bytes() for path in (project / "models/tiny-qlora").iterdir()}
    (directory,) = (project / ".cache/qlora").iterdir()
    assert [path.name for path in directory.glob("checkpoint-*")] == ["checkpoint-8"]
    names = {path.name for path in (directory / "checkpoint-8").iterdir()}
    assert "adapter_model.safetensors" in names
    assert not names & {"optimizer.pt", "rng_state.pth", "scheduler.pt"}
    qlora.main()
    assert json.loads((project / "timings/qlora.json").read_text())["resumed_from_step"] == 8
    assert before == {path.name: path.read_bytes() for path in (project / "models/tiny-qlora").iterdir()}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backend": "unsloth"}, "unsloth needs a CUDA GPU"),
        ({"max_length": 10}, "no training samples are left: raise max_length"),
        ({"memory_share": 1.0e-9}, "the longest micro-batch .* needs about"),
        ({"target_modules": ["nothing"]}, "target_modules"),
        ({"lr": 0.0}, "lr: 0.0 is not above 0"),
        ({"steps": 0, "epochs": 0.1, "micro_batch": 8}, "make no step of micro_batch 8"),
    ],
)
def test_says_what_is_wrong(project: Path, base: Path, changed: dict[str, object], message: str) -> None:
    write_params(project, base, **changed)
    with pytest.raises(ValueError, match=message):
        qlora.main()
    assert not (project / "models").exists() and not (project / "metrics").exists()


def test_a_set_of_one_class_is_refused(project: Path) -> None:
    refusals = [chat_record(i) | {"kind": "unanswerable"} for i in range(16)]
    write_jsonl(project / "data/instruct/synthetic_qa_train.jsonl", refusals)
    with pytest.raises(ValueError, match=r"synthetic_qa_train\.jsonl: all 16 samples are of the kind 'unanswerable'"):
        qlora.main()
    assert not (project / "models").exists()


def test_packing_learns_the_same(project: Path, base: Path) -> None:
    write_params(project, base, lora_dropout=0.0, steps=2)
    qlora.main()
    padded = (project / "metrics/qlora_curve.csv").read_text()
    write_params(project, base, lora_dropout=0.0, steps=2, packing=True, gradient_checkpointing="full")
    qlora.main()
    rows = [[float(cell) for cell in line.split(",")] for line in padded.splitlines()[1:]]
    packed = [line.split(",") for line in (project / "metrics/qlora_curve.csv").read_text().splitlines()[1:]]
    for expected, found in zip(rows, packed, strict=True):
        assert [float(cell) for cell in found] == pytest.approx(expected, rel=1e-3)


def test_a_sample_that_just_fits_is_kept() -> None:
    records = [chat_record(number) for number in range(3)]
    lengths = [len(sample.input_ids) for sample in encode(records, tiny_tokenizer(), 10_000, 0)[0]]
    assert len(set(lengths)) == 3
    kept, counts = encode(records, tiny_tokenizer(), max(lengths), 0)
    assert (len(kept), counts) == (3, {"in": 3, "kept": 3, "dropped": {}})
    kept, counts = encode(records, tiny_tokenizer(), max(lengths) - 1, 1)
    assert (len(kept), counts) == (1, {"in": 3, "kept": 1, "dropped": {"over_limit": 2}})
    assert encode(records, tiny_tokenizer(), max(lengths) - 1, 0)[1]["dropped"] == {"too_long": 1}


def test_a_fall_is_what_the_losses_lost() -> None:
    before = np.linspace(2.0, 5.0, 40)
    after = before - 0.5
    after[0] = before[0] + 1.0
    found = fall(before, after, 500, seed=0)
    assert found["val_loss_fall"] == pytest.approx(before.mean() - after.mean()) == pytest.approx(0.5 - 1.5 / 40)
    assert found["val_loss_before"] > found["val_loss_after"]
    assert found["val_samples_improved"] == 39
    # Paired: losses are 3 apart, what they fell by is not.
    assert 0.3 < found["val_loss_fall_low"] < found["val_loss_fall"] < found["val_loss_fall_high"] <= 0.5
