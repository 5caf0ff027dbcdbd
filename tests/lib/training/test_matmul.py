"""The rate of matrix products is found within its time, whatever the machine, and by a clock that is handed in."""

import pytest
import torch

from stages.lib.training import matmul

CPU = torch.device("cpu")


class Machine:
    """A clock that moves on at each product as the machine's rate says; nothing is multiplied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rates: dict[int, float]) -> None:
        self.now, self.rates = 0.0, rates
        self.widths: list[int] = []
        monkeypatch.setattr(matmul, "draw", lambda width, dtype, device: [Matrix(self, width)] * 2)

    def clock(self) -> float:
        return self.now


class Matrix:
    """Of a width alone."""

    def __init__(self, machine: Machine, width: int) -> None:
        self.machine, self.width = machine, width

    def __matmul__(self, other: "Matrix") -> None:
        self.machine.widths.append(self.width)
        self.machine.now += 2 * self.width**3 / self.machine.rates[self.width]


@pytest.mark.parametrize("rate", [1e8, 1e9, 1e11, 1e13])
def test_the_rate_is_found_within_the_time(monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    machine = Machine(monkeypatch, dict.fromkeys(matmul.WIDTHS, rate))
    assert matmul.matmul_rate(torch.float32, CPU, 0.5, machine.clock) == pytest.approx(rate)
    narrowest = 2 * 256**3 / rate
    assert machine.now < max(0.5 + narrowest, 2.01 * narrowest)
    # A fast machine is measured on wide products, a slow one on the narrowest.
    assert max(machine.widths) == {1e8: 256, 1e9: 256, 1e11: 2048, 1e13: 8192}[rate]


def test_the_best_width_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {width: 1e12 if width == 1024 else 1e11 for width in matmul.WIDTHS}
    machine = Machine(monkeypatch, rates)
    assert matmul.matmul_rate(torch.float32, CPU, 5.0, machine.clock) == pytest.approx(1e12)
    assert max(machine.widths) > 1024


def test_numbers_are_random_and_the_global_ones_stay_as_they_were() -> None:
    state = torch.get_rng_state()
    first, second = matmul.draw(64, torch.bfloat16, CPU)
    assert first.dtype == torch.bfloat16 and not torch.equal(first, second)
    assert first.float().std() == pytest.approx(1, abs=0.1)
    assert torch.equal(matmul.draw(64, torch.bfloat16, CPU)[0], first)
    assert torch.equal(torch.get_rng_state(), state)
