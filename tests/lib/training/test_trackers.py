"""Trackers: what DVCLive and wandb write, names that are wrong, and one that fails in the middle."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stages.lib.curves.curves import Point
from stages.lib.training.trackers import Trackers, open_trackers


def test_dvclive_has_every_step_once_after_a_resume(tmp_path: Path) -> None:
    pytest.importorskip("dvclive", reason="dvclive is not installed (optional)")
    first = open_trackers(["dvclive"], tmp_path, {"lr": 0.1})
    for step in (1, 2, 3):
        first.log(step, {"train_loss": 1.0 / step, "lr": 0.1, "grad_norm": 1.0})
    again = open_trackers(
        ["dvclive"], tmp_path, {"lr": 0.1}, [Point(1, 1.0, None, 0.1, 1.0), Point(2, 0.5, 2.0, 0.1, 1.0)]
    )
    again.log(3, {"train_loss": 0.25, "lr": 0.1, "grad_norm": 1.0})
    again.close()
    lines = (tmp_path / "dvclive/plots/metrics/train_loss.tsv").read_text().splitlines()
    assert lines == ["step\ttrain_loss", "1\t1.0", "2\t0.5", "3\t0.25"]
    assert (tmp_path / "dvclive/plots/metrics/val_loss.tsv").read_text().splitlines()[1:] == ["2\t2.0"]
    assert '"train_loss": 0.25' in (tmp_path / "dvclive/metrics.json").read_text()
    assert "lr: 0.1" in (tmp_path / "dvclive/params.yaml").read_text()
    assert not again.failures


def test_wandb_writes_an_offline_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed (optional)")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    trackers = open_trackers(["wandb"], tmp_path, {"lr": 0.1})
    trackers.log(1, {"train_loss": 1.0})
    trackers.close()
    assert not trackers.failures
    (run,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert b"train_loss" in run.read_bytes()


def test_a_package_that_is_absent_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.lib.training.trackers.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="wandb is not installed: pip install wandb"):
        open_trackers(["wandb"], tmp_path, {})
    assert importlib.util.find_spec("torch") is not None  # the patch is of one module alone
    names: Any = ["tensorboard"]
    with pytest.raises(ValueError, match="trackers: 'tensorboard' is not known; write dvclive or wandb"):
        open_trackers(names, tmp_path, {})


class Remembering:
    """A tracker that fails at a step."""

    def __init__(self, fails_at: int = -1) -> None:
        self.steps: list[int] = []
        self.fails_at = fails_at

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step == self.fails_at:
            raise OSError("no route to host")
        self.steps.append(step)

    def close(self) -> None:
        if self.fails_at == 0:
            raise OSError("disk full")

    def abandon(self) -> None:
        self.close()


def test_one_that_fails_is_told_of_and_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, ill = Remembering(), Remembering(fails_at=2), Remembering(fails_at=0)
    trackers = Trackers({"good": good, "bad": bad, "ill": ill})
    for step in (1, 2, 3):
        trackers.log(step, {"train_loss": 1.0})
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "tracker bad failed at step 2: no route to host; the training goes on without it" in said
    trackers.close()
    assert (good.steps, bad.steps) == ([1, 2, 3], [1])
    assert trackers.failures == {"bad": "failed at step 2: no route to host", "ill": "failed at the end: disk full"}
    assert "tracker bad lacks steps" in capsys.readouterr().err
    assert Trackers({}).failures == {}
