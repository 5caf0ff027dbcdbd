"""The start-up probe picks what is faster here, and leaves the model as it was."""

from typing import Any

import pytest
import torch

from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.training import precision
from stages.lib.training.precision import check_precision, faster_precision, has_bf32, matmul_peak, products, rate

CPU = torch.device("cpu")


class Clocked(GPT):
    """Moves a clock of its own on at each block."""

    now = 0.0
    seconds: dict[bool, float]  # of 64 tokens in a block, under autocast or not

    def tick(self, block: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        tokens = inputs[0].shape[0] * inputs[0].shape[1]
        self.now += self.seconds[torch.is_autocast_enabled("cpu")] * tokens / 64


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What matrix products reach, as if measured."""
    found = {"float32": 1.0, "bfloat16": 2.0}
    monkeypatch.setattr(precision, "rate", lambda name, device: found[name])
    return found


def clocked(monkeypatch: pytest.MonkeyPatch, half: float, full: float, **shape: Any) -> Clocked:
    """A model whose blocks take so many seconds for 64 tokens, on a clock of its own."""
    sizes: dict[str, Any] = {"vocab_size": 64, "context": 16, "n_layer": 1, "n_head": 2, "d_model": 16}
    model = Clocked(GPTConfig(**(sizes | shape)))
    model.seconds = {True: half, False: full}
    monkeypatch.setattr("stages.lib.training.precision.time.perf_counter", lambda: model.now)
    for block in model.blocks:
        block.register_forward_pre_hook(model.tick)
    return model


@pytest.mark.parametrize(("half", "expected"), [(0.1, "bfloat16"), (10.0, "float32"), (0.95, "float32")])
@pytest.mark.parametrize("full", [1e-3, 0.3, 100.0])
def test_the_probe_takes_the_shorter_time(
    monkeypatch: pytest.MonkeyPatch, rates: dict[str, float], half: float, full: float, expected: str
) -> None:
    model = clocked(monkeypatch, half * full, full)
    assert faster_precision(model, 2, CPU).precision == expected
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_fast_machine_decides_by_the_whole_micro_batch_and_a_slow_one_by_less(
    monkeypatch: pytest.MonkeyPatch, rates: dict[str, float]
) -> None:
    seen = {}
    for full in (1e-6, 1e-3, 0.02, 0.1, 10.0):
        model = clocked(monkeypatch, full / 2, full, context=256, n_layer=6)
        found = faster_precision(model, 4, CPU)
        assert found.precision == "bfloat16"
        # However slow, the first size costs two passes a precision at most.
        assert model.now < max(precision.SECONDS, 2 * 1.5 * full + 1e-9), full
        seen[full] = found.why.partition(" takes")[0]
    assert seen[1e-6] == seen[1e-3] == "the model on 4 x 256 tokens"
    assert seen[10.0] == "one block on 64 tokens"
    assert len(set(seen.values())) > 2


def test_no_pass_is_tried_where_products_are_no_faster(
    monkeypatch: pytest.MonkeyPatch, rates: dict[str, float]
) -> None:
    rates["bfloat16"] = 0.01
    model = clocked(monkeypatch, 0.1, 1.0)
    found = faster_precision(model, 2, CPU)
    assert (found.precision, model.now) == ("float32", 0.0)
    assert "matrix products in bfloat16" in found.why


def test_what_does_not_fit_is_decided_by_what_did(monkeypatch: pytest.MonkeyPatch, rates: dict[str, float]) -> None:
    model = clocked(monkeypatch, 0.5e-3, 1e-3)

    def full(*_: object, **__: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(model, "forward", full)
    found = faster_precision(model, 2, CPU)
    assert found.precision == "bfloat16" and found.why.startswith("one block on 16 tokens takes")
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_peak_is_the_best_that_a_step_could_use(rates: dict[str, float]) -> None:
    assert (matmul_peak("float32", CPU), matmul_peak("bfloat16", CPU)) == (1.0, 2.0)
    rates["bfloat16"] = 0.01  # a library that converts to float32
    assert matmul_peak("bfloat16", CPU) == 1.0


def test_the_rate_is_plausible_and_measured_once() -> None:
    found = rate("float32", CPU)
    assert 1e8 < found < 1e16
    assert rate("float32", CPU) == found


def test_bf32_is_refused_where_it_would_be_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf32", lambda: False)
    with pytest.raises(ValueError, match="bf32: this CPU has neither AMX nor AVX512-BF16"):
        check_precision("bf32", CPU)
    monkeypatch.setattr(precision, "has_bf32", lambda: True)
    check_precision("bf32", CPU)
    with pytest.raises(ValueError, match="bf32: it is a CPU's"):
        check_precision("bf32", torch.device("cuda", 0))
    check_precision("float32", torch.device("cuda", 0))


def test_products_are_rounded_within_and_not_behind_it() -> None:
    before = torch.get_float32_matmul_precision()
    with pytest.raises(ZeroDivisionError), products("bf32"):
        assert torch.get_float32_matmul_precision() == "medium"
        raise ZeroDivisionError
    assert torch.get_float32_matmul_precision() == before
    with products("float32"):
        assert torch.get_float32_matmul_precision() == before


@pytest.mark.skipif(not has_bf32(), reason="this CPU has neither AMX nor AVX512-BF16")
def test_bf32_rounds_operands_to_bfloat16() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 256, 256)
    exact, rounded = a @ b, a.bfloat16().float() @ b.bfloat16().float()
    with products("bf32"):
        found = a @ b
    if torch.equal(found, exact):
        pytest.skip("oneDNN was told to leave these units alone (ONEDNN_MAX_CPU_ISA)")
    assert torch.allclose(found, rounded, atol=1e-3)
    assert not torch.allclose(found, exact, atol=1e-3)
