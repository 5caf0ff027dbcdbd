"""Lanes compute what one model does, to rounding, and the same bits again; what they save is read either way."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.lib.curves.curves import Curve
from stages.lib.gpt.checkpoints import read_tensors
from stages.lib.tokens.targets import IGNORED
from stages.lib.training.lanes import Lanes
from stages.lib.training.passes import OneModel
from stages.lib.training.precision import has_bf32
from stages.lib.training.training import Training
from tests.lib.training.training_setup import CONFIG, Counting, fail_at, run, settings, training

PLAIN = replace(CONFIG, dropout=0.0)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def made(place: Path, lanes: int, **changes: Any) -> Training:
    """A training in so many lanes; 1: by one model."""
    torch.set_num_threads(lanes)
    found = training(place, settings(**changes), config=PLAIN)
    assert isinstance(found.passes, Lanes if lanes > 1 else OneModel)
    return found


def losses(curve: Curve) -> list[float]:
    return [point.train_loss for point in curve.points]


@pytest.mark.parametrize(("optimizer", "lanes"), [("adamw", 2), ("adamw", 3), ("muon", 2)])
def test_lanes_learn_what_one_model_learns(tmp_path: Path, optimizer: str, lanes: int) -> None:
    curves = []
    for count in (1, lanes):
        place = tmp_path / str(count)
        curves.append(run(made(place, count, optimizer=optimizer, clip=0.05), place)[0])
    alone, found = curves
    assert losses(found) == pytest.approx(losses(alone), rel=1e-4)
    assert [p.grad_norm for p in found.points] == pytest.approx([p.grad_norm for p in alone.points], rel=1e-3)
    assert [p.val_loss for p in found.points if p.val_loss] == pytest.approx(
        [p.val_loss for p in alone.points if p.val_loss], rel=1e-4
    )
    assert min(p.grad_norm for p in alone.points) > 0.05  # all were clipped


def test_gradients_are_those_of_one_model(tmp_path: Path) -> None:
    found = {}
    for count in (1, 2, 3):
        one = made(tmp_path / str(count), count, clip=0.0, lr=1e-30)
        parts = one.parts(Counting(), 0)
        known = torch.tensor(float(sum(part.counted for part in parts)), dtype=torch.float64)
        for part in parts:
            one.passes.add(part, known, last=False)
        found[count] = float(one.passes.update(0.0))
    assert found[2] == pytest.approx(found[1], rel=1e-5)
    assert found[3] == pytest.approx(found[1], rel=1e-5)


class Sparse(Counting):
    """The first rows have no target that counts."""

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Batches`."""
        inputs, targets = super().batch(first, count)
        targets[: count // 2] = IGNORED
        return inputs, targets


def test_a_lane_without_a_target_adds_nothing(tmp_path: Path) -> None:
    found = []
    for count in (1, 2):
        one = made(tmp_path / str(count), count)
        found.append(one.train_step(one.parts(Sparse(), 0), 1e-3))
    assert found[1] == pytest.approx(found[0], rel=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_lanes_go_on_as_if_they_had_never_stopped(tmp_path: Path, optimizer: str) -> None:
    whole, _ = run(made(tmp_path / "whole", 2, optimizer=optimizer), tmp_path / "whole")
    run(made(tmp_path / "cut", 2, optimizer=optimizer), tmp_path / "cut", stop_at=17)
    resumed = made(tmp_path / "cut", 2, optimizer=optimizer)
    assert resumed.step == 14
    curve, _ = run(resumed, tmp_path / "cut")
    assert curve.points == whole.points
    assert_the_same_checkpoints(tmp_path / "cut", tmp_path / "whole")


def assert_the_same_checkpoints(ours: Path, theirs: Path) -> None:
    files = sorted(path.relative_to(theirs) for path in theirs.glob("step_*/*.safetensors"))
    assert len(files) >= 2
    for file in files:
        assert (ours / file).read_bytes() == (theirs / file).read_bytes(), file


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_what_lanes_save_one_model_reads_and_the_other_way(
    tmp_path: Path, order: tuple[int, int], optimizer: str
) -> None:
    whole, _ = run(made(tmp_path / "whole", 1, optimizer=optimizer), tmp_path / "whole")
    before, after = order
    run(made(tmp_path / "cut", before, optimizer=optimizer), tmp_path / "cut", stop_at=17)
    curve, _ = run(made(tmp_path / "cut", after, optimizer=optimizer), tmp_path / "cut")
    assert losses(curve) == pytest.approx(losses(whole), rel=1e-4)
    saved = [read_tensors(next(tmp_path.glob(f"{place}/step_*30/optimizer.safetensors"))) for place in ("cut", "whole")]
    assert {name: tensor.shape for name, tensor in saved[0].items()} == {
        name: tensor.shape for name, tensor in saved[1].items()
    }


def test_what_a_lane_raises_is_raised_and_the_others_have_ended(tmp_path: Path) -> None:
    failing = made(tmp_path, 2)
    fail_at(failing, 3, RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    with pytest.raises(RuntimeError, match="can't allocate"):
        run(failing, tmp_path)
    assert failing.step == 3


def test_with_dropout_there_is_one_model(tmp_path: Path) -> None:
    """Lanes would draw from one generator, in an order that nobody knows."""
    assert isinstance(training(tmp_path, settings()).passes, OneModel)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(2)
from dataclasses import replace
from tests.lib.training.training_setup import CONFIG, Counting, settings, training
place = Path(sys.argv[1])
one = training(place, settings(compile=sys.argv[2] == "True", steps=12, checkpoint_every=3, eval_every=4),
               config=replace(CONFIG, dropout=0.0))
def log(step, row):
    if step == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
one.run(Counting(), lambda: one.mean_loss(Counting(), 12), None, log, "test")
"""


@pytest.mark.skipif(not has_bf32(), reason="this CPU has neither AMX nor AVX512-BF16")
def test_bf32_is_near_float32_and_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    exact, _ = run(made(tmp_path / "exact", 2), tmp_path / "exact")
    whole, _ = run(made(tmp_path / "whole", 2, precision="bf32"), tmp_path / "whole")
    assert losses(whole) == pytest.approx(losses(exact), rel=0.02)
    run(made(tmp_path / "cut", 2, precision="bf32"), tmp_path / "cut", stop_at=17)
    curve, _ = run(made(tmp_path / "cut", 2, precision="bf32"), tmp_path / "cut")
    assert curve.points == whole.points


@pytest.mark.landing
@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
def test_after_kill_9_lanes_end_with_the_same_bytes(tmp_path: Path, compiled: bool) -> None:
    def go(place: str, kill_at: int) -> int:
        command = [sys.executable, "-c", KILLED, str(tmp_path / place), str(compiled), str(kill_at)]
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "CUDA_VISIBLE_DEVICES": ""}
        return subprocess.run(command, capture_output=True, check=False, env=environment).returncode

    assert go("whole", 0) == 0
    assert go("cut", 8) == -signal.SIGKILL
    assert go("cut", 0) == 0
    assert_the_same_checkpoints(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_compiled_lanes_learn_what_eager_ones_learn(tmp_path: Path) -> None:
    curves = []
    for compiled in (False, True):
        place = tmp_path / str(compiled)
        curves.append(run(made(place, 2, compile=compiled, steps=8), place)[0])
    eager, fused = curves
    assert losses(fused) == pytest.approx(losses(eager), rel=1e-4)
