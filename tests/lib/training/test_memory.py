"""The estimate against what PyTorch saves, and against its own memory tracker at the profiles' sizes."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from profiles.memory import CARDS
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.training.memory import (
    CUDA_CONTEXT,
    TrainingLoad,
    check_memory,
    largest_micro_batch,
    training_memory,
)
from stages.lib.training.precision import Precision

SLOW = pytest.mark.slow
LLAMA: dict[str, Any] = {}  # the defaults: rope, rmsnorm, gelu_sigmoid
GPT2: dict[str, Any] = {"position": "learned", "norm": "layernorm", "activation": "gelu_tanh", "bias": True}


def saved_bytes(config: GPTConfig, batch: int, precision: Precision, compiled: bool = False) -> int:
    """Bytes of the distinct storages that a forward pass keeps for the backward pass, weights left out.

    Compiled: torch.compile's graphs and what it decides to keep, run without the code that Inductor would write.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = GPT(config).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    ids = torch.randint(0, config.vocab_size, (batch, config.context))
    torch._dynamo.reset()
    run = torch.compile(model, backend="aot_eager_decomp_partition") if compiled else model
    if compiled:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            run(ids, targets=ids).backward()  # hooks within which it is compiled would become a part of the graph
        model.zero_grad(set_to_none=True)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        run(ids, targets=ids)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [LLAMA, GPT2], ids=["rope", "gpt2"])
@pytest.mark.parametrize("n_layer", [1, 3])
def test_saved_activations_are_within_three_percent(shape: dict[str, Any], precision: Precision, n_layer: int) -> None:
    config = GPTConfig(vocab_size=96, context=64, n_layer=n_layer, n_head=2, d_model=64, **shape)
    parts = training_memory(TrainingLoad(config=config, micro_batch=4, precision=precision))
    # Of the three (n, V) tensors that count as logits one is there before the backward pass.
    estimate = parts["activations"] + parts["logits"] // 3 + parts["bfloat16 weights"] + parts["scaled weights"]
    assert estimate == pytest.approx(saved_bytes(config, 4, precision), rel=0.03)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [LLAMA, GPT2, {"activation": "gelu"}], ids=["rope", "gpt2", "gelu"])
def test_what_a_compiled_model_keeps_is_within_five_percent(shape: dict[str, Any], precision: Precision) -> None:
    config = GPTConfig(vocab_size=96, context=64, n_layer=2, n_head=2, d_model=64, **shape)
    load = TrainingLoad(config=config, micro_batch=4, precision=precision, compiled=True)
    parts = training_memory(load)
    estimate = parts["activations"] + parts["logits"] + parts["bfloat16 weights"] + parts["scaled weights"]
    assert estimate == pytest.approx(saved_bytes(config, 4, precision, compiled=True), rel=0.05)
    assert estimate < sum(training_memory(replace(load, compiled=False)).values())


def tracked_peak(config: GPTConfig, batch: int, precision: Precision) -> int:
    """The peak of two training steps by PyTorch's memory tracker, on tensors without storage."""
    with FakeTensorMode():
        model = GPT(config).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        ids = torch.randint(0, config.vocab_size, (batch, config.context))
        tracker = MemTracker()
        tracker.track_external(model, optimizer, ids)
        with tracker:
            for _ in range(2):
                for _ in range(2):  # accumulation: the second pass finds gradients
                    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                        loss = model(ids, targets=ids)
                    loss.backward()
                    tracker.reset_mod_stats()  # it wants to hear that a model is called again
                optimizer.step()
                optimizer.zero_grad()
    (snapshot,) = tracker.get_tracker_snapshot("peak").values()
    total: int = snapshot["Total"]
    return total


@pytest.mark.parametrize(
    ("shape", "batch", "precision"),
    [
        ({"context": 256, "n_layer": 1, "n_head": 8, "d_model": 512}, 16, "bfloat16"),
        pytest.param({"context": 256, "n_layer": 6, "n_head": 8, "d_model": 512}, 16, "float32", marks=SLOW),
        pytest.param({"context": 256, "n_layer": 6, "n_head": 8, "d_model": 512}, 16, "bfloat16", marks=SLOW),
        pytest.param({"context": 1024, "n_layer": 12, "n_head": 12, "d_model": 768, **GPT2}, 8, "bfloat16", marks=SLOW),
    ],
)
def test_peak_is_within_five_percent_of_the_memory_tracker(
    shape: dict[str, Any], batch: int, precision: Precision
) -> None:
    config = GPTConfig(vocab_size=50304, **shape)
    parts = training_memory(TrainingLoad(config=config, micro_batch=batch, precision=precision))
    estimate = sum(parts.values()) - parts["CUDA context"] - parts["fragmentation"]
    assert estimate == pytest.approx(tracked_peak(config, batch, precision), rel=0.05)


def gpt2_small(micro_batch: int, **changes: Any) -> TrainingLoad:
    config = GPTConfig(vocab_size=50304, context=1024, n_layer=12, n_head=12, d_model=768, **GPT2)
    return TrainingLoad(config=config, micro_batch=micro_batch, precision="bfloat16", **changes)


def test_what_does_not_depend_on_the_batch() -> None:
    parts = training_memory(gpt2_small(8))
    weights = 124_475_904  # GPT-2 small with its vocabulary padded to 50,304
    assert parts["weights"] == parts["gradients"] == 4 * weights
    assert parts["optimizer"] == 8 * weights
    assert parts["communication"] == 0
    assert parts["CUDA context"] == CUDA_CONTEXT
    matrices = 12 * 12 * 768 * 768
    assert training_memory(gpt2_small(8, optimizer="muon"))["optimizer"] == 8 * weights - 4 * matrices
    assert training_memory(gpt2_small(8, processes=2))["communication"] == 4 * weights
    divided = training_memory(gpt2_small(8, processes=4, parallel="fsdp"))
    assert divided["weights"] == divided["gradients"] == weights
    assert sum(divided.values()) < sum(training_memory(gpt2_small(8, processes=4)).values())


def test_largest_micro_batch_is_the_largest_that_fits() -> None:
    card = CARDS["rtx4060ti-16g"]
    fits = largest_micro_batch(gpt2_small(1), card)
    assert 2 < fits < 32
    assert sum(training_memory(gpt2_small(fits)).values()) <= card < sum(training_memory(gpt2_small(fits + 1)).values())
    assert check_memory(gpt2_small(fits), card, "it") == training_memory(gpt2_small(fits))


def test_what_does_not_fit_is_told_what_to_lower() -> None:
    card = CARDS["rtx4060-8g"]
    fits = largest_micro_batch(gpt2_small(1), card)
    with pytest.raises(
        ValueError, match=rf"GB \(logits .*rtx4060-8g has 8\.6 free: lower micro_batch from 32 to {fits} "
    ):
        check_memory(gpt2_small(32), card, "rtx4060-8g")
    huge = gpt2_small(1)
    huge = replace(huge, config=replace(huge.config, n_layer=200))
    with pytest.raises(ValueError, match=r"not even one sequence fits: .* lower context \(1024\)"):
        check_memory(huge, card, "rtx4060-8g")


@pytest.mark.parametrize(
    ("card", "shape", "fits"),
    [
        ("rtx4060-8g", (256, 6, 8, 512), 16),
        ("rtx4060-8g", (384, 6, 8, 512), 16),
        ("rtx4060ti-16g", (512, 8, 8, 640), 16),
        ("a100", (1024, 12, 12, 768), 16),
        ("h100", (1024, 12, 12, 768), 32),
    ],
)
def test_the_profiles_models_fit_their_cards(card: str, shape: tuple[int, int, int, int], fits: int) -> None:
    """With a fifth of the card to spare, for a display and what the estimate cannot know."""
    context, n_layer, n_head, d_model = shape
    config = GPTConfig(vocab_size=50304, context=context, n_layer=n_layer, n_head=n_head, d_model=d_model)
    load = TrainingLoad(config=config, micro_batch=fits, precision="bfloat16")
    assert sum(check_memory(load, CARDS[card], card).values()) < 0.8 * CARDS[card]
