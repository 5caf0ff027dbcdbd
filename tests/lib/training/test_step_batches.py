"""Batches one step ahead, and how often a step has the host wait for the device."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stages.lib.training.step_batches import MicroBatch, one_step_ahead
from tests.lib.training.training_setup import CONFIG, Counting, settings, training


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what has the host wait for the device: `.item()`, `float`, `bool`, `nonzero`, but not `.tolist()`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Counts, and calls."""
        name = func.overloadpacket.__name__
        self.count += name in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select")
        return func(*args, **(kwargs or {}))


@pytest.fixture(params=[1, 2], ids=["one model", "two lanes"])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("micro_batch", [8, 4, 1])
def test_a_step_has_the_host_wait_once_however_many_micro_batches_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro_batch: int, optimizer: str
) -> None:
    params = settings(micro_batch=micro_batch, optimizer=optimizer, clip=0.01)
    made = training(tmp_path, params, config=replace(CONFIG, dropout=0.0))
    parts = made.parts(Counting(), 0)
    assert len(parts) == 8 // micro_batch
    made.train_step(parts, 1e-3)  # the optimizers make their state
    lists: list[torch.Size] = []
    to_list = torch.Tensor.tolist

    def noted(tensor: torch.Tensor) -> Any:
        lists.append(tensor.shape)
        return to_list(tensor)

    monkeypatch.setattr(torch.Tensor, "tolist", noted)
    with Waits() as waits:
        made.train_step(parts, 1e-3)
    assert waits.count == 0
    assert lists == [(2,)]  # loss and norm at once


def test_the_next_step_is_made_while_this_one_runs() -> None:
    asked: list[tuple[int, str]] = []
    made = {step: threading.Event() for step in range(3, 7)}

    def make(step: int) -> list[MicroBatch]:
        asked.append((step, threading.current_thread().name))
        made[step].set()
        return [MicroBatch(torch.tensor([[step]]), torch.tensor([[step]]), 1)]

    with one_step_ahead(make, 3, 7) as take:
        for step in range(3, 7):
            (part,) = take(step)
            assert int(part.inputs) == step
            if step < 6:
                assert made[step + 1].wait(30)  # nobody has asked for it
    assert [step for step, _ in asked] == [3, 4, 5, 6]
    assert threading.current_thread().name not in {name for _, name in asked}


def test_what_a_batch_raises_is_raised_where_its_step_is_asked_for() -> None:
    def make(step: int) -> list[MicroBatch]:
        if step == 1:
            raise ValueError("shard 7 is damaged")
        return []

    with one_step_ahead(make, 0, 5) as take:
        assert take(0) == []
        with pytest.raises(ValueError, match="shard 7 is damaged"):
            take(1)


def test_a_training_that_stops_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt), one_step_ahead(lambda step: [], 0, 5) as take:
        take(0)
        raise KeyboardInterrupt
    assert set(threading.enumerate()) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: what only a GPU counts cannot be seen")
def test_on_a_gpu_the_step_copies_from_pinned_memory_and_waits_once(tmp_path: Path) -> None:
    from stages.lib.launching.world import World

    world = World(0, 1, torch.device("cuda", 0))
    made = training(tmp_path, settings(micro_batch=1, precision="bfloat16"), world, replace(CONFIG, dropout=0.0))
    parts = made.parts(Counting(), 0)
    assert all(part.inputs.is_pinned() and part.targets.is_pinned() for part in parts)
    made.train_step(parts, 1e-3)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchronizing") as caught:
            made.train_step(parts, 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sum("synchronizing" in str(warning.message) for warning in caught) == 1
