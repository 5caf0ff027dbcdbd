"""The stage pretrain on a few thousand real tokens: kill -9 and go on, what it publishes, bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.lib.core.metrics import read_results
from stages.lib.gpt.checkpoints import load_model
from tests.lib.curves.written_curve import read_curve
from tests.params_of import section

ROOT = Path(__file__).parent.parent
SECTIONS: dict[str, dict[str, Any]] = {
    "shard": section("shard")
    | {
        "sources": [{"kind": "files", "patterns": ["documents/*.md"]}],
        "tokenizer": "byte",
        "shard_tokens": 5000,
        "val_fraction": 0.2,
        "workers": 1,
    },
    "pretrain": section("pretrain")
    | {
        "context": 32,
        "n_layer": 2,
        "n_head": 2,
        "d_model": 32,
        "dropout": 0.1,
        "steps": 120,
        "batch_tokens": 256,
        "micro_batch": 4,
        "lr": 3.0e-3,
        "precision": "float32",
        "compile": False,
        "processes": 1,
        "log_every": 1,
        "hellaswag": "",
        "eval_every": 25,
        "eval_windows": 8,
        "checkpoint_every": 10,
        "prompts": ["The model", ""],
        "max_new_tokens": 20,
    },
}


def place_with_shards(place: Path, **pretrain: Any) -> Path:
    """A folder with params.yaml and shards of a text that nobody edits: an edit moves documents in and out of val."""
    (place / "documents").mkdir(parents=True)
    licence = (ROOT / "LICENSE").read_text()
    text = licence + licence.lower()
    for i in range(0, len(text), 1500):
        (place / "documents" / f"{i:06d}.md").write_text(text[i : i + 1500])
    write_params(place, **pretrain)
    stage(place, "shard")
    return place


def write_params(place: Path, **pretrain: Any) -> None:
    sections = SECTIONS | {"pretrain": SECTIONS["pretrain"] | pretrain}
    (place / "params.yaml").write_text(yaml.safe_dump(sections))


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def stage(place: Path, name: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{name}"],
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nobody disturbed."""
    place = place_with_shards(tmp_path_factory.mktemp("pretrain") / "whole")
    stage(place, "pretrain")
    return place


def test_it_publishes_a_model_its_curve_samples_and_metrics(whole: Path) -> None:
    metrics = read_results("pretrain", whole)
    points = read_curve(whole / "metrics/pretrain_curve.csv")
    assert len(points) == metrics["steps"] == 120
    assert points[-1].train_loss < 0.7 * points[0].train_loss
    assert metrics["val_loss"] < 4.5  # below ln(260) = 5.6, where it begins
    in_training = metrics["val_in_training"]
    assert in_training["loss"] == min(point.val_loss for point in points if point.val_loss is not None)
    assert in_training["windows"] == 8 < metrics["val"]["windows"]
    assert metrics["val"]["tokens"] == read_results("shard", whole)["val"]["tokens"] - 1  # all of the split
    for which in ("best", "last"):
        model, tokenizer = load_model(whole / "models/gpt" / which)
        assert (tokenizer, model.config.vocab_size) == ("byte", 320)
    assert (whole / "data/pretrain/curve.png").stat().st_size > 10_000
    assert (whole / "data/pretrain/samples.md").read_text().count("The model") == 3


def test_after_kill_9_it_goes_on_and_ends_with_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    place = tmp_path / "killed"
    shutil.copytree(whole, place, ignore=shutil.ignore_patterns(".cache", "models", "metrics", "pretrain"))
    victim = subprocess.Popen([sys.executable, "-m", "stages.pretrain"], cwd=place, env=environment(), text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        curves = list(place.glob(".cache/pretrain/*/curve.csv"))
        if curves and len(curves[0].read_text().splitlines()) > 37:
            break
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    assert not (place / "models").exists()
    done = stage(place, "pretrain")
    assert "goes on from step" in done.stdout
    for file in ("metrics/pretrain_curve.csv", "metrics/full/pretrain.json", "models/gpt/last/model.safetensors"):
        assert (place / file).read_bytes() == (whole / file).read_bytes()
    for file in ("models/gpt/last/optimizer.safetensors", "data/pretrain/samples.md", "data/pretrain/curve.png"):
        assert (place / file).read_bytes() == (whole / file).read_bytes()


def test_another_seed_is_another_training(whole: Path, tmp_path: Path) -> None:
    place = tmp_path / "other"
    shutil.copytree(whole, place)
    write_params(place, seed=2, steps=3)
    assert "goes on" not in stage(place, "pretrain").stdout
    assert len(list(place.glob(".cache/pretrain/*"))) == 2


def resumed_from(place: Path) -> int:
    return int(json.loads((place / "timings/pretrain.json").read_text())["resumed_from_step"])


@pytest.mark.parametrize(
    "changes",
    [
        {"log_every": 7},
        {"micro_batch": 2},
        {"checkpoint_every": 33},
        {"prompts": ["A"], "max_new_tokens": 3, "hellaswag_limit": 5},
    ],
)
def test_what_does_not_decide_the_weights_trains_nothing_anew(
    whole: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    place = tmp_path / "same"
    shutil.copytree(whole, place)
    write_params(place, **changes)
    stage(place, "pretrain")
    assert resumed_from(place) == 120
    model = "models/gpt/last/model.safetensors"
    assert (place / model).read_bytes() == (whole / model).read_bytes()
    if "prompts" in changes:
        assert "\nA" in (place / "data/pretrain/samples.md").read_text()
    if "log_every" in changes:
        shown = [point.step for point in read_curve(place / "metrics/pretrain_curve.csv")]
        assert shown == sorted({*range(7, 120, 7), *range(25, 121, 25), 120})
        shutil.rmtree(place / ".cache")
        stage(place, "pretrain")
        assert [point.step for point in read_curve(place / "metrics/pretrain_curve.csv")] == shown


def test_other_validation_windows_measure_the_best_again(whole: Path, tmp_path: Path) -> None:
    place = tmp_path / "windows"
    shutil.copytree(whole, place)
    before = read_results("pretrain", whole)
    write_params(place, eval_windows=3)
    stage(place, "pretrain")
    found = read_results("pretrain", place)
    assert resumed_from(place) == 120
    assert (found["val_in_training"]["windows"], found["best_step"]) == (3, before["best_step"])
    assert found["val_in_training"]["loss"] != before["val_in_training"]["loss"]
    assert (found["val_loss"], found["val_by_source"]) == (before["val_loss"], before["val_by_source"])
    write_params(place, eval_windows=8)
    stage(place, "pretrain")
    assert read_results("pretrain", place) == before


def test_a_new_schedule_starts_from_given_weights(whole: Path, tmp_path: Path) -> None:
    place = tmp_path / "start"
    shutil.copytree(whole, place)
    shutil.copytree(place / "models/gpt/last", place / "models/start")
    write_params(place, init_from="models/start", steps=5, lr=1.0e-4, eval_every=5)
    done = stage(place, "pretrain")
    assert "goes on" not in done.stdout
    first = read_curve(place / "metrics/pretrain_curve.csv")[0]
    assert first.train_loss < read_curve(whole / "metrics/pretrain_curve.csv")[0].train_loss - 1
    # Other weights under the same name are another training.
    shutil.rmtree(place / "models/start")
    shutil.copytree(place / "models/gpt/last", place / "models/start")
    stage(place, "pretrain")
    assert resumed_from(place) == 0
    (cached,) = list((whole / ".cache/pretrain").glob("*/step_00000120"))
    write_params(place, init_from=f".cache/pretrain/{cached.parent.name}/step_00000120", steps=4, eval_every=5)
    stage(place, "pretrain")


@pytest.mark.parametrize(
    ("init_from", "changes", "message"),
    [
        ("models/nothing", {}, "init_from: models/nothing: no such directory"),
        ("models/gpt/best", {}, "is this stage's own output, which DVC removes before it runs: copy it"),
        ("hub:org/name", {}, "write hub:ORG/NAME@REVISION"),
        (
            "models/start",
            {"n_layer": 1},
            "init_from: models/start has another shape; set in section pretrain: n_layer: 2",
        ),
    ],
)
def test_weights_that_cannot_be_started_from_are_named(
    whole: Path, tmp_path: Path, init_from: str, changes: dict[str, Any], message: str
) -> None:
    place = tmp_path / "bad"
    shutil.copytree(whole, place, ignore=shutil.ignore_patterns(".cache"))
    (place / "models/gpt/last").rename(place / "models/start")
    write_params(place, init_from=init_from, **changes)
    done = subprocess.run(
        [sys.executable, "-m", "stages.pretrain"],
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert message in done.stderr


def failing(place: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "stages.pretrain"],
        cwd=place,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert not (place / "models").exists()
    return done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": 100_000, "batch_tokens": 400_000}, "context"),
        ({"batch_tokens": 250}, "batch_tokens: 250 is not a multiple of context 32"),
        ({"n_head": 3}, "d_model: 32 is not a multiple of n_head, 3"),
        ({"lr": "0.001"}, "pretrain.lr: expected float, found '0.001' (this is text"),
    ],
)
def test_params_that_cannot_be_are_named(whole: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    place = tmp_path / "bad"
    shutil.copytree(whole, place, ignore=shutil.ignore_patterns(".cache", "models"))
    write_params(place, **changes)
    assert message in failing(place)


def test_a_shard_cut_in_the_middle_is_named(whole: Path, tmp_path: Path) -> None:
    place = tmp_path / "cut"
    shutil.copytree(whole, place, ignore=shutil.ignore_patterns(".cache", "models"))
    shard = place / "data/shards/train_000001.npy"
    shard.write_bytes(shard.read_bytes()[:5000])
    assert "train_000001.npy" in failing(place)
