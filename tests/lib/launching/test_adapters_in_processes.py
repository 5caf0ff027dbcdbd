"""qlora and grpo in one process and in two: the same losses; killed in one number of processes, resumed in another."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from stages.lib.core.records import write_jsonl
from stages.lib.weights.models import load_model_entry
from tests.lib.conftest import tiny_directory
from tests.lib.launching.nodes import ROOT
from tests.lib.lora.tiny_chat import chat_record, params_text, write_tiny_base
from tests.test_grpo import make_project
from tests.test_qlora import SECTION

__all__ = ["tiny_directory"]  # a fixture
# TRL logs the mean of the micro-batches' means, and draws the replies of a micro-batch from those of its process.
MEANS_OF_MEANS = {"kl", "entropy"}


def run(place: Path, stage: str, processes: int, dies_at: int | None = None) -> "subprocess.CompletedProcess[str]":
    """The stage in so many processes of torchrun's; 1: without it."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    told = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *(torchrun if processes > 1 else []), "-m", "tests.lib.launching.dying_trainer", stage],
        cwd=place,
        env=os.environ | told | ({} if dies_at is None else {"DIES_AT": str(dies_at)}),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == (0 if dies_at is None else -signal.SIGKILL), done.stderr[-3000:]
    return done


def qlora_project(place: Path) -> Path:
    """A tiny base, sixteen samples, steps of four micro-batches; no dropout, whose masks go by process."""
    base = write_tiny_base(place / "tiny")
    changed = {"lora_dropout": 0.0, "micro_batch": 1, "gradient_accumulation_steps": 4}
    (place / "params.yaml").write_text(params_text(base) + yaml.safe_dump({"qlora": SECTION | changed}))
    write_jsonl(place / "data/instruct/synthetic_qa_train.jsonl", [chat_record(i) for i in range(16)])
    write_jsonl(place / "data/instruct/synthetic_qa_val.jsonl", [chat_record(i) for i in range(20, 28)])
    return place


def grpo_project(place: Path, model: Path) -> Path:
    """A random base, steps of two groups of four replies in four micro-batches, a real embedding model.

    A low learning rate: at 1e-2 what two processes round otherwise grew in five steps until a reply had another token.
    """
    changes = {"dtype": "float32", "micro_batch": 2, "similarity_model": "minilm-l6", "lora_dropout": 0.0}
    make_project(place, model, steps=6, lr=1e-3, **changes)
    content = yaml.safe_load((place / "params.yaml").read_text())
    content["models"]["minilm-l6"] = asdict(load_model_entry("minilm-l6", ROOT / "params.yaml"))
    (place / "params.yaml").write_text(yaml.safe_dump(content))
    return place


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_directory: Path) -> dict[str, Path]:
    """Both stages, each in a process that nobody disturbs."""
    place = tmp_path_factory.mktemp("alone")
    found = {"qlora": qlora_project(place / "qlora"), "grpo": grpo_project(place / "grpo", tiny_directory)}
    for stage, project in found.items():
        run(project, stage, 1)
    return found


def begun(alone: Path, place: Path) -> Path:
    """The same project, before anything ran."""
    shutil.copytree(alone, place, ignore=shutil.ignore_patterns(".cache", "models", "metrics", "timings", "grpo"))
    return place


def curve(place: Path, stage: str) -> list[dict[str, float]]:
    with (place / f"metrics/{stage}_curve.csv").open(newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def check_same(place: Path, alone: Path, stage: str) -> None:
    """Losses, gradient norms, rewards up to the order of summation; and the adapter."""
    for mine, theirs in zip(curve(place, stage), curve(alone, stage), strict=True):
        assert mine.keys() == theirs.keys()
        for name in theirs.keys() - MEANS_OF_MEANS:
            assert mine[name] == pytest.approx(theirs[name], rel=1e-5, abs=1e-5), (theirs["step"], name)
    name = f"models/tiny-{stage}/adapter_model.safetensors"
    weights, expected = load_file(place / name), load_file(alone / name)
    assert weights.keys() == expected.keys()
    assert all(torch.allclose(weights[key], expected[key], atol=1e-4) for key in expected)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["qlora", "grpo"])
def test_two_processes_train_what_one_does(alone: dict[str, Path], tmp_path: Path, stage: str) -> None:
    place = begun(alone[stage], tmp_path / stage)
    said = run(place, stage, 2)
    check_same(place, alone[stage], stage)
    assert said.stdout.count("step 3/") == 1  # one of them speaks
    assert len(list((place / ".cache" / stage).iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
@pytest.mark.parametrize("stage", ["qlora", "grpo"])
def test_a_killed_training_goes_on_in_another_number_of_processes(
    alone: dict[str, Path], tmp_path: Path, *, stage: str, before: int, after: int
) -> None:
    place = begun(alone[stage], tmp_path / stage)
    run(place, stage, before, dies_at=5)
    assert not (place / f"models/tiny-{stage}").exists()
    run(place, stage, after)
    resumed = json.loads((place / f"timings/{stage}.json").read_text())["resumed_from_step"]
    assert resumed == {"qlora": 4, "grpo": 4}[stage]
    check_same(place, alone[stage], stage)


@pytest.mark.slow
def test_micro_batches_that_cannot_be_divided_are_named(alone: dict[str, Path], tmp_path: Path) -> None:
    place = begun(alone["qlora"], tmp_path / "qlora")
    with pytest.raises(AssertionError, match="gradient_accumulation_steps: 4 micro-batches a step cannot be divided"):
        run(place, "qlora", 3)
