"""The start-up probe picks what is faster here, and leaves the model as it was."""

import pytest
import torch

from stages.lib.gpt.model import GPT, GPTConfig, KVCache
from stages.lib.training.precision import faster_precision, matmul_peak

CPU = torch.device("cpu")


class Clocked(GPT):
    """Moves a clock of its own on by 1 a pass, by `cost` under autocast."""

    now = 0.0
    cost = 1.0

    def forward(
        self,
        ids: torch.Tensor,
        cache: KVCache | None = None,
        padding: torch.Tensor | None = None,
        targets: torch.Tensor | None = None,
    ) -> torch.Tensor:
        self.now += self.cost if torch.is_autocast_enabled("cpu") else 1.0
        return super().forward(ids, cache, padding, targets)


@pytest.mark.parametrize(("half", "expected"), [(0.1, "bfloat16"), (10.0, "float32"), (0.95, "float32")])
def test_the_probe_takes_the_shorter_time(monkeypatch: pytest.MonkeyPatch, half: float, expected: str) -> None:
    model = Clocked(GPTConfig(vocab_size=64, context=16, n_layer=1, n_head=2, d_model=16))
    model.cost = half
    monkeypatch.setattr("stages.lib.training.precision.time.perf_counter", lambda: model.now)
    assert faster_precision(model, 2, CPU) == expected
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_peak_is_a_plausible_rate_measured_once() -> None:
    rate = matmul_peak("float32", CPU)
    assert 1e8 < rate < 1e16
    assert matmul_peak("float32", CPU) == rate
