import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from stages import qlora
from stages.lib.records import write_jsonl
from tests.lib.tuning.tiny_chat import chat_record, params_text, write_tiny_base

SECTION = {
    "base": "tiny",
    "backend": "hf",
    "compute_dtype": "float32",
    "r": 4,
    "alpha": 8,
    "dropout": 0.1,
    "lr": 1.0e-2,
    "warmup_fraction": 0.1,
    "weight_decay": 0.0,
    "clip": 1.0,
    "epochs": 2.0,
    "steps": 8,
    "batch_size": 2,
    "accumulation": 2,
    "max_length": 200,
    "packing": False,
    "checkpointing": "selective",
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
    metrics = json.loads((project / "metrics/qlora.json").read_text())
    assert metrics["train"] == {"in": 16, "kept": 16, "dropped": {}}
    assert metrics["val_loss_fall_low"] > 0
    assert metrics["steps"] == 8
    printed = capsys.readouterr().out
    assert "⟦Thing" in printed and "<|im_end|>⟧" in printed
