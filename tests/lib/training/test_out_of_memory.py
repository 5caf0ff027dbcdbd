"""Memory that does not suffice: refused beforehand by what is free, or told what to lower when a step runs out."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stages.lib.gpt.model import GPT
from stages.lib.launching.world import World
from stages.lib.training import out_of_memory
from stages.lib.training.memory import GB, training_memory
from stages.lib.training.out_of_memory import advised, check_fits, check_weights, is_out_of_memory, load_of
from stages.lib.weights.free_memory import available_on_gpu
from tests.lib.training.training_setup import CONFIG, fail_at, run, settings, training

SETUP = Path(__file__).parent / "training_setup.py"
PLAIN = replace(CONFIG, dropout=0.0)  # masks are drawn by the micro-batch
CARD = torch.device("cuda", 0)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.6 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError("Unable to allocate 3.1 GiB for an array"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:12])
def test_a_step_out_of_memory_is_told_what_to_lower_and_goes_on_from_its_checkpoint(
    tmp_path: Path, error: Exception
) -> None:
    whole, _ = run(training(tmp_path / "whole", settings(), config=PLAIN), tmp_path / "whole")
    made = training(tmp_path / "cut", settings(), config=PLAIN)
    fail_at(made, 17, error)
    expected = (
        r"^test: out of memory after 17 of 30 steps \(.*\): lower micro_batch from 4 to 2 \(batch_tokens may stay\), "
        r"or set compile: true, which keeps less; the next run goes on from step 14$"
    )
    with pytest.raises(ValueError, match=expected) as told, advised("test", made):
        run(made, tmp_path / "cut")
    assert str(error)[:30] in str(told.value) and told.value.__suppress_context__
    again = training(tmp_path / "cut", settings(micro_batch=2), config=PLAIN)
    assert again.step == 14
    curve, batches = run(again, tmp_path / "cut")
    assert batches.asked[0] == (14 * 8, 2)
    assert [point.train_loss for point in curve.points] == pytest.approx(
        [point.train_loss for point in whole.points], rel=1e-3
    )


def test_the_smallest_micro_batch_is_told_of_the_other_ways(tmp_path: Path) -> None:
    made = training(tmp_path, settings(micro_batch=1, compile=False))
    fail_at(made, 2, ERRORS[0])
    expected = (
        r"after 2 of 30 steps \(.*\): set compile: true, .*, or take a smaller model.*the next run begins at step 1"
    )
    with pytest.raises(ValueError, match=expected), advised("test", made):
        run(made, tmp_path)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    made = training(tmp_path, settings())
    fail_at(made, 2, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match=r"^a bug$"), advised("test", made):
        run(made, tmp_path)
    assert not is_out_of_memory(ValueError("out of memory"))


def test_a_real_allocation_that_fails_is_known() -> None:
    with pytest.raises(RuntimeError) as failed:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(failed.value)


def test_the_next_micro_batch_divides_the_step(tmp_path: Path) -> None:
    made = training(tmp_path, settings(micro_batch=9, batch_tokens=18 * CONFIG.context))
    fail_at(made, 0, ERRORS[0])
    with pytest.raises(ValueError, match="lower micro_batch from 9 to 6 "), advised("test", made):
        run(made, tmp_path)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A GPU: what is free of it, and what PyTorch holds."""
    found = {"free": 0, "reserved": 0}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (found["free"], 80 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: found["reserved"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    return found


def test_a_card_has_what_is_free_and_what_pytorch_holds(card: dict[str, int]) -> None:
    card.update(free=3 * GB, reserved=2 * GB)
    assert available_on_gpu(CARD) == (5 * GB, "a card")


@pytest.mark.parametrize("width", [0, 8])
def test_a_training_is_held_to_what_is_free_not_to_what_the_card_has(
    tmp_path: Path, card: dict[str, int], width: int
) -> None:
    made = training(tmp_path, settings())
    made.world = World(0, 1, CARD)
    parts = training_memory(load_of(made, width))
    needed = sum(parts.values()) - parts["CUDA context"]  # the context is there, and not free any more
    card.update(free=needed - 1000, reserved=1000)
    check_fits(made, width)
    card.update(free=needed - 1001)
    with pytest.raises(ValueError, match=r"GB \(.*\), a card has 0\.0 free: lower micro_batch from 4 to 2 "):
        check_fits(made, width)
    if width:  # a finetuning of short examples needs less than the whole context would
        assert parts["activations"] == training_memory(load_of(made))["activations"] // 2


def test_a_micro_batch_to_go_down_to_divides_the_step(tmp_path: Path, card: dict[str, int]) -> None:
    made = training(tmp_path, settings(micro_batch=18, batch_tokens=18 * CONFIG.context))
    made.world = World(0, 1, CARD)
    eight = training_memory(replace(load_of(made), micro_batch=8))
    card.update(free=sum(eight.values()) - eight["CUDA context"])
    with pytest.raises(ValueError, match="lower micro_batch from 18 to 6 "):
        check_fits(made)


def test_a_cpu_is_held_to_what_is_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = training(tmp_path, settings())
    weights = training_memory(load_of(made))["weights"]
    parts = training_memory(load_of(made))
    needed = sum(parts.values()) - parts["CUDA context"]
    free = {"bytes": needed - weights}  # the weights are there already
    monkeypatch.setattr(out_of_memory, "available_host_bytes", lambda: free["bytes"])
    check_fits(made)
    free["bytes"] -= 1
    with pytest.raises(ValueError, match=r"this machine has 0\.0 free: lower micro_batch from 4 to 2 "):
        check_fits(made)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    free["bytes"] = 2 * (needed - weights)
    check_fits(made)
    free["bytes"] -= 2
    with pytest.raises(ValueError, match="free"):
        check_fits(made)


def test_a_model_too_large_to_be_made_is_refused_before_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, n_layer=96, d_model=12288)  # GPT-3, made nowhere here
    with pytest.raises(
        ValueError, match=r"weights alone take 695\.\d GB, .* lower n_layer \(96\) or d_model \(12288\)"
    ):
        check_weights(config)
    needed = 4 * GPT(CONFIG).n_params
    monkeypatch.setattr(out_of_memory, "available_host_bytes", lambda: needed)
    check_weights(CONFIG)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="each process"):
        check_weights(CONFIG)


def test_one_process_out_of_memory_ends_all(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(SETUP)]
    arguments = [str(tmp_path), "30", "ddp", "full"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    assert "test: out of memory after 9 of 30 steps (DefaultCPUAllocator" in done.stderr
    assert "lower micro_batch from 2 to 1 (batch_tokens may stay)" in done.stderr
    assert "the next run goes on from step 7" in done.stderr
    assert json.loads((tmp_path / "pointers.json").read_text())["last"] == 7
