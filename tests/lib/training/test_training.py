"""The loop: exact resumption, accumulation, processes, what goes wrong, and compilation beside generation."""

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.lib.curves.curves import Curve
from stages.lib.gpt.checkpoints import CheckpointStore, load_model
from stages.lib.gpt.generate import generate
from stages.lib.gpt.model import GPT
from stages.lib.gpt.sampling import TokenSampling
from stages.lib.training.optimizer import learning_rate
from stages.lib.training.training import Training
from tests.lib.training.training_setup import ALONE, CONFIG, FACTS, Counting, run, settings, training

SETUP = Path(__file__).parent / "training_setup.py"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(place: Path, which: str) -> dict[str, torch.Tensor]:
    pointers = json.loads((place / "pointers.json").read_text())
    return dict(load_model(place / f"step_{pointers[which]:08d}")[0].state_dict())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_stopped_training_goes_on_as_if_it_had_never_stopped(tmp_path: Path, optimizer: str) -> None:
    params = settings(optimizer=optimizer)
    whole, _ = run(training(tmp_path / "whole", params), tmp_path / "whole")
    stopped = training(tmp_path / "cut", params)
    run(stopped, tmp_path / "cut", stop_at=17)
    resumed = training(tmp_path / "cut", params)
    assert resumed.step == 14  # the last checkpoint
    assert resumed.best == stopped.best and resumed.best[1] == 10
    curve, batches = run(resumed, tmp_path / "cut")
    assert batches.asked[0][0] == 14 * 8
    assert (tmp_path / "cut/curve.csv").read_bytes() == (tmp_path / "whole/curve.csv").read_bytes()
    assert len(curve.points) == 30
    assert [point.lr for point in curve.points] == pytest.approx(
        [learning_rate(i, params) for i in range(30)], rel=1e-5
    )
    assert curve.points == whole.points
    for which in ("last", "best"):
        ours, theirs = weights(tmp_path / "cut", which), weights(tmp_path / "whole", which)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_loss_falls_and_best_is_the_least_validation_loss(tmp_path: Path) -> None:
    curve, _ = run(training(tmp_path, settings(steps=60, lr=3e-2)), tmp_path)
    assert curve.points[-1].train_loss < 0.7 * curve.points[0].train_loss
    evaluated = {point.step: point.val_loss for point in curve.points if point.val_loss is not None}
    pointers = json.loads((tmp_path / "pointers.json").read_text())
    assert pointers["best"] == min(evaluated, key=lambda step: evaluated[step])


def test_a_best_loss_of_other_sequences_is_measured_again(tmp_path: Path) -> None:
    run(training(tmp_path, settings()), tmp_path)
    taken: dict[str, Any] = {"val_sequences": 12, "val_which": "spread evenly"}

    def again(**which: Any) -> Training:
        store = CheckpointStore(tmp_path)
        return Training(GPT(CONFIG), settings(), ALONE, store, FACTS, decisive=None, **(taken | which))

    made = again()
    old = made.best  # on the first 12, as nothing else is noted
    made.measure_best_again(Shifted())
    assert made.best[0] != old[0] and made.best[1] == old[1]
    state = next(iter(tmp_path.glob("step_*30"))) / "state.json"
    content = json.loads(state.read_text())
    content["best"] |= taken | {"val_loss": made.best[0]}
    state.write_text(json.dumps(content))
    for which, same in (({}, True), ({"val_which": "the first"}, False), ({"val_sequences": 11}, False)):
        made = again(**which)
        before = made.best
        made.measure_best_again(Counting())
        assert (made.best == before) == same
    del content["best"]["val_which"]  # as checkpoints were before it was noted
    state.write_text(json.dumps(content))
    made = again()
    before = made.best
    made.measure_best_again(Counting())
    assert made.best != before


class Shifted(Counting):
    """Other sequences than `Counting`."""

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Batches`."""
        return super().batch(first + 1000, count)


def test_accumulation_changes_no_token_and_no_loss(tmp_path: Path) -> None:
    config = replace(CONFIG, dropout=0.0)
    losses, norms, asked = [], [], []
    for micro in (8, 2):
        place = tmp_path / str(micro)
        params = settings(steps=8, micro_batch=micro, clip=0.02)
        curve, batches = run(training(place, params, config=config), place)
        losses.append([point.train_loss for point in curve.points])
        norms.append([point.grad_norm for point in curve.points])
        asked.append([first + i for first, count in batches.asked for i in range(count)])
    assert asked[0] == asked[1] == list(range(64))
    assert losses[0] == pytest.approx(losses[1], rel=2e-5)
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)  # of the whole step's gradient, before it is clipped
    assert min(norms[0]) > 0.02


def test_batch_tokens_that_do_not_divide_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"batch_tokens: 120 is not a multiple of context 16 x micro_batch 4"):
        training(tmp_path, settings(batch_tokens=120))


def test_a_loss_that_is_not_finite_names_step_and_checkpoint(tmp_path: Path) -> None:
    made = training(tmp_path, settings())
    batches = Counting()

    def spoil(step: int, _: Any) -> None:
        if step == 9:
            with torch.no_grad():
                made.model.embedding.weight[3] = torch.nan

    with pytest.raises(ValueError, match=r"step 10: the loss is nan.*last good checkpoint is .*step_00000007"):
        made.run(batches, lambda: made.mean_loss(Counting(), 8), None, spoil, "test")
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path, "last").values())


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    made = training(tmp_path, settings())
    run(made, tmp_path, stop_at=8)
    again = training(tmp_path, settings())
    # The kernel refuses to make files longer than this, as it does on a full disk.
    handler, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.raises(ValueError, match=r"step 10 could not be saved .* last whole checkpoint, .*step_00000007"):
            again.run(Counting(), lambda: again.mean_loss(Counting(), 8), None, lambda step, row: None, "test")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.csv", "pointers.json", "step_00000007"]
    assert training(tmp_path, settings()).step == 7


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    run(training(tmp_path, settings()), tmp_path, stop_at=8)
    with pytest.raises(ValueError, match=r"model\.safetensors: .* has shape .* the model's is"):
        training(tmp_path, settings(), config=replace(CONFIG, d_model=32))


def torchrun(place: Path, steps: int, parallel: str) -> list[int]:
    """Two processes; returns the numbers of the sequences in the order of steps, ranks merged."""
    place.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(SETUP)]
    done = subprocess.run([*command, str(place), str(steps), parallel], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    asked = [json.loads((place / f"asked_{rank}.json").read_text()) for rank in (0, 1)]
    return [first + i for pair in zip(*asked, strict=True) for first, count in pair for i in range(count)]


@pytest.mark.landing
@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_stopped_and_resumed_as_one_see_the_same_tokens(tmp_path: Path, parallel: str) -> None:
    alone, batches = run(training(tmp_path / "one", settings(micro_batch=2)), tmp_path / "one")
    expected = [first + i for first, count in batches.asked for i in range(count)]
    seen = torchrun(tmp_path / "two", 15, parallel)
    assert seen == expected[: 16 * 8]  # the last one was made ahead
    resumed = training(tmp_path / "two", settings(micro_batch=2))
    assert resumed.step == 14
    curve, rest = run(resumed, tmp_path / "two")
    assert [first + i for first, count in rest.asked for i in range(count)] == expected[14 * 8 :]
    assert [point.train_loss for point in curve.points] == pytest.approx(
        [point.train_loss for point in alone.points], rel=0.03
    )


@pytest.mark.slow
def test_a_compiled_training_validates_and_generates_as_an_eager_one(tmp_path: Path) -> None:
    results: dict[bool, tuple[list[float], list[float | None], list[list[int]]]] = {}
    greedy = TokenSampling(temperature=0.0)
    for compiled in (False, True):
        made = training(
            tmp_path / str(compiled),
            settings(steps=6, eval_every=2, compile=compiled),
            config=replace(CONFIG, dropout=0.0),
        )
        texts: list[list[int]] = []

        def sample(step: int, _: Any, made: Any = made, texts: list[list[int]] = texts) -> None:
            # In the middle of the training, with and without the cache.
            for use_cache in (True, False):
                texts.extend(
                    generate(
                        made.model,
                        [[1, 2, 3]],
                        max_new_tokens=20,
                        sampling=greedy,
                        valid_ids=50,
                        use_cache=use_cache,
                    )
                )

        curve = Curve(tmp_path / str(compiled) / "curve.csv")
        made.run(Counting(), partial(made.mean_loss, Counting(), 10), curve, sample, "test")
        points = curve.points
        results[compiled] = ([p.train_loss for p in points], [p.val_loss for p in points], texts)
    eager, fused = results[False], results[True]
    assert fused[0] == pytest.approx(eager[0], rel=1e-4)
    assert [v for v in fused[1] if v] == pytest.approx([v for v in eager[1] if v], rel=1e-4)
    assert fused[2] == eager[2]
    assert len(fused[2]) == 12


def test_each_step_drops_other_channels_and_always_the_same(tmp_path: Path) -> None:
    class Same(Counting):
        """One sequence, again and again."""

        def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            """As `Batches`."""
            return super().batch(1, 1)[0].repeat(count, 0), super().batch(1, 1)[1].repeat(count, 0)

    made = training(tmp_path, settings(weight_decay=0.0))
    losses = []
    for step in (0, 1, 2, 0, 1, 2):
        made.step = step
        losses.append(made.train_step(made.parts(Same(), step), lr=0.0)[0])
    assert losses[:3] == losses[3:]
    assert len(set(losses)) == 3
