"""Speed counts what a step really learned from and computed: padding that no model saw is in neither."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from stages.lib.gpt.model import GPT
from stages.lib.launching.world import World
from stages.lib.tokens.targets import IGNORED
from stages.lib.training import speed
from stages.lib.training.speed import Meter, Speed
from tests.lib.training.training_setup import ALONE, CONFIG, settings, training

WIDE = replace(CONFIG, context=64, dropout=0.0)
FLOPS = GPT(CONFIG).matmul_flops(32)


class Padded:
    """Rows of known lengths, padded on the right to a multiple of 8; the first half of a row is no target."""

    lengths = (5, 30, 9, 16, 3, 7, 1, 2)

    def rows(self, first: int, count: int) -> list[int]:
        return [self.lengths[number % len(self.lengths)] for number in range(first, first + count)]

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Batches`."""
        lengths = self.rows(first, count)
        width = -(-max(lengths) // 8) * 8
        targets = np.full((count, width), IGNORED, dtype=np.int64)
        for row, length in zip(targets, lengths, strict=True):
            row[length // 2 : length] = 1
        return np.zeros((count, width), dtype=np.int64), targets


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each look at the clock is a second later: a step takes 1 s. One thread: what lanes compute is not counted."""
    seconds = count()
    monkeypatch.setattr(speed, "perf_counter", lambda: float(next(seconds)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("ticking")
def test_a_run_counts_tokens_and_the_operations_of_the_padded_width(tmp_path: Path) -> None:
    made = training(tmp_path, settings(steps=4, batch_tokens=8 * 64, micro_batch=2), config=WIDE)
    made.meter.measure_peak = lambda precision: setattr(made.meter, "peak", 1e9)  # type: ignore[method-assign]
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        found = made.run(Padded(), lambda: 1.0, None, lambda step, row: None, "test")
    # Three of four steps: the first one, which compiles, is left out. The micro-batches are 32, 16, 8 and 8 wide.
    assert found.seconds == 3
    assert found.tokens == 3 * sum(Padded.lengths)
    assert found.positions == 3 * 2 * (32 + 16 + 8 + 8)
    assert found.flops == 3 / 4 * counter.get_total_flops()
    assert found.tokens_per_second == sum(Padded.lengths)
    assert found.matmul_share == pytest.approx(found.flops / 3 / 1e9)
    made = training(tmp_path, settings(steps=4, batch_tokens=8 * 64, micro_batch=2), config=WIDE)
    assert made.run(Padded(), lambda: 1.0, None, lambda step, row: None, "test").tokens_per_second == 0.0


@pytest.mark.usefixtures("ticking")
def test_a_run_of_one_step_counts_it() -> None:
    meter = Meter(GPT(CONFIG), ALONE)
    with meter.step():
        meter.count(np.zeros((2, 16), dtype=np.int64))
    assert (meter.total().tokens, meter.total().seconds, meter.so_far()) == (32, 1.0, meter.total())
    with meter.step():
        meter.count(torch.zeros((3, 16), dtype=torch.int64))
    assert (meter.total().tokens, meter.total().seconds) == (48, 1.0)


@pytest.mark.usefixtures("ticking")
def test_processes_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    two = World(0, 2, torch.device("cpu"))
    monkeypatch.setattr(World, "total", lambda self, values: np.add(values, [1, 2, 3]).tolist())
    meter = Meter(GPT(CONFIG), two)
    meter.peak = 1e9
    for _ in range(2):
        with meter.step():
            meter.count(np.zeros((2, 16), dtype=np.int64))
    assert meter.so_far().tokens == 64  # as if the other did as much
    flops = GPT(CONFIG).matmul_flops(32)
    assert meter.total() == Speed(tokens=33, positions=34, seconds=1.0, flops=flops + 3, peak=2e9)


@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize(("second", "share"), [(4.0, None), (2 * FLOPS, 0.5)])
def test_steps_faster_than_the_peak_have_it_measured_once_more(
    monkeypatch: pytest.MonkeyPatch, second: float, share: float | None
) -> None:
    peaks = iter([3.0, second])
    monkeypatch.setattr(speed, "matmul_peak", lambda precision, device: next(peaks))
    meter = Meter(GPT(CONFIG), ALONE)
    meter.measure_peak("bfloat16")
    with meter.step():
        meter.count(np.zeros((2, 16), dtype=np.int64))
    assert meter.so_far().matmul_share is None
    found = meter.total()
    assert (found.peak, found.matmul_share) == (second, share)


def test_rows_without_a_target_have_no_tokens() -> None:
    meter = Meter(GPT(CONFIG), ALONE)
    targets = np.full((3, 16), IGNORED)
    targets[1, 4] = 0
    with meter.step():
        meter.count(targets)
    assert (meter.total().tokens, meter.total().positions) == (5, 48)


@pytest.mark.parametrize(
    ("flops", "peak", "share", "said"),
    [
        (50.0, 10.0, 0.5, "4 tokens/s, 50% of the matmul peak"),
        (100.0, 10.0, 1.0, "100% of the matmul peak"),
        (549.0, 10.0, None, "share of the matmul peak unknown"),
        (50.0, 0.0, None, "share of the matmul peak unknown"),
    ],
)
def test_a_share_above_one_is_not_told(flops: float, peak: float, share: float | None, said: str) -> None:
    found = Speed(tokens=40, positions=40, seconds=10.0, flops=flops, peak=peak)
    assert found.matmul_share == share
    assert said in str(found)
