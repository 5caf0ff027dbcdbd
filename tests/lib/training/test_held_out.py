"""All of validation is in its windows, each target once; spread windows are even, and any processes take the same."""

import contextlib
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from stages.lib.gpt.model import GPT
from stages.lib.launching.world import World
from stages.lib.shards.reading import Shards
from stages.lib.tokens.targets import IGNORED
from stages.lib.training.held_out import HeldOut
from stages.lib.training.validation_loss import mean_loss
from tests.lib.training.training_setup import ALONE, CONFIG

CONTEXT = CONFIG.context


def split(lengths: list[int], sources: list[int] | None = None) -> Shards:
    """Documents of these lengths in shards of 100 tokens; tokens are drawn from 50 ids."""
    total = sum(lengths)
    tokens = np.random.default_rng(total).integers(0, 50, total).astype(np.uint16)
    arrays = tuple(tokens[start : start + 100] for start in range(0, total, 100))
    starts = np.cumsum([0, *lengths[:-1]])
    numbers = np.array(sources or [0] * len(lengths))
    names = tuple("abcdefg"[: int(numbers.max()) + 1])
    return Shards(total, "", starts, np.cumsum([len(array) for array in arrays]), arrays, numbers, names)


@pytest.mark.parametrize("total", [2, 3, CONTEXT, CONTEXT + 1, CONTEXT + 2, 2 * CONTEXT + 1, 999])
def test_every_token_but_the_first_is_a_target_once(total: int) -> None:
    shards = split([total])
    held_out = HeldOut(shards, CONTEXT)
    inputs, targets = held_out.batch(0, held_out.count)
    known = targets != IGNORED
    tokens = shards.read(0, total)
    assert targets[known].tolist() == tokens[1:].tolist()
    assert inputs[known].tolist() == tokens[:-1].tolist()
    assert known[-1].any()  # no window is all filling
    assert (held_out.batch(held_out.count, 3)[1] == IGNORED).all()  # nothing behind the last


def test_one_token_is_no_validation() -> None:
    with pytest.raises(ValueError, match="has 1 token: raise val_fraction"):
        HeldOut(split([1]), CONTEXT)


def test_each_target_belongs_to_the_document_that_it_is_a_token_of() -> None:
    lengths = [5, 1, 40, 2, 100]
    held_out = HeldOut(split(lengths), CONTEXT)
    found = np.concatenate([held_out.documents(number) for number in range(held_out.count)])
    assert found.tolist() == np.repeat(np.arange(5), lengths)[1:].tolist()


@pytest.mark.parametrize("count", [1, 2, 7, 30, 62, 63])
def test_spread_windows_are_even(count: int) -> None:
    held_out = HeldOut(split([1000]), CONTEXT)
    assert held_out.count == 63
    numbers = held_out.spread(count).numbers
    edges = np.array([-numbers[0] - 1, *numbers, 2 * 63 - numbers[-1]])  # mirrored at both ends
    assert np.abs(np.diff(edges) - 63 / count).max() < 2
    for number, row in enumerate(numbers.tolist()):
        for mine, whole in zip(held_out.spread(count).batch(number, 1), held_out.batch(row, 1), strict=True):
            assert (mine == whole).all()


def test_spread_windows_take_every_source_by_its_share() -> None:
    lengths = [4_000, 1_000, 3_000, 2_000]
    held_out = HeldOut(split(lengths, [0, 1, 2, 3]), CONTEXT)
    taken = held_out.spread(100).numbers
    documents = np.concatenate([held_out.documents(number) for number in taken.tolist()])
    assert np.bincount(documents) / len(documents) == pytest.approx(np.array(lengths) / 10_000, abs=0.02)


@dataclass(frozen=True)
class OneOf(World):
    """A process of several, whose sums are taken note of instead of being exchanged."""

    noted: list[list[float]] = field(default_factory=list)

    def total(self, values: list[float]) -> list[float]:
        """Its own share."""
        self.noted.append(values)
        return values


@pytest.mark.parametrize(("size", "micro_batch"), [(2, 4), (3, 2), (8, 5)])
def test_any_number_of_processes_measures_the_same(size: int, micro_batch: int) -> None:
    torch.manual_seed(0)
    model = GPT(CONFIG).eval()
    with torch.no_grad():
        model.embedding.weight *= 20  # losses far apart
    held_out = HeldOut(split([301, 200]), CONTEXT)
    for windows, count in ((held_out, held_out.count), (held_out.spread(13), 13)):
        alone = mean_loss(model, windows, count, micro_batch=4, precision="float32", world=ALONE)
        shares = []
        for rank in range(size):
            world = OneOf(rank, size, torch.device("cpu"))
            with contextlib.suppress(ZeroDivisionError):  # of a process without a window of its own
                mean_loss(model, windows, count, micro_batch=micro_batch, precision="float32", world=world)
            shares += world.noted
        nats, targets = np.sum(shares, axis=0)
        _, wanted = windows.batch(0, count)
        assert targets == (wanted != IGNORED).sum()
        assert nats / targets == pytest.approx(alone, rel=1e-5)
