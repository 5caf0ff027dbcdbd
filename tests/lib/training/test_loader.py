"""Windows: every token once an epoch, a pure function of (seed, number), the same however the shards are cut."""

import time
from pathlib import Path

import numpy as np
import pytest

from stages.lib.shards.reading import Shards
from stages.lib.training.loader import Windows

LENGTHS = np.random.default_rng(0).integers(1, 400, 100)
TOTAL = int(LENGTHS.sum())
CONTEXT = 64


def shards(shard_tokens: int = TOTAL, lengths: np.ndarray = LENGTHS) -> Shards:
    """Tokens numbered 0, 1, 2, ... in shards of the given size: a token says where it came from."""
    total = int(lengths.sum())
    assert total < 65_536
    tokens = np.arange(total, dtype=np.uint16)
    arrays = tuple(tokens[start : start + shard_tokens] for start in range(0, total, shard_tokens))
    starts = np.concatenate([[0], np.cumsum(lengths[:-1])])
    ends = np.cumsum([len(array) for array in arrays])
    return Shards(total, "", starts, ends, arrays, np.zeros_like(starts), ("all",))


def test_each_token_is_a_target_once_an_epoch_apart_from_phase_and_tail() -> None:
    windows = Windows(shards(), CONTEXT, seed=1)
    assert windows.per_epoch == (TOTAL - CONTEXT) // CONTEXT
    for epoch in range(4):
        inputs, targets = windows.batch(epoch * windows.per_epoch, windows.per_epoch)
        assert inputs.shape == targets.shape == (windows.per_epoch, CONTEXT)
        assert inputs.dtype == targets.dtype == np.int64
        assert (inputs[:, 1:] == targets[:, :-1]).all()
        for seen in (inputs, targets):
            assert len(np.unique(seen)) == seen.size > TOTAL - 2 * CONTEXT


def test_windows_follow_the_documents() -> None:
    inputs, targets = Windows(shards(), CONTEXT, seed=1).batch(0, 100)
    starts = set(np.concatenate([[0], np.cumsum(LENGTHS[:-1])]).tolist())
    jumps = targets != inputs + 1
    assert 0 < jumps.sum() < len(LENGTHS)
    assert set(targets[jumps].tolist()) <= starts  # the stream leaves a document at its end and enters one at its start
    assert set((inputs[jumps] + 1).tolist()) <= starts | {TOTAL}


def test_a_sequence_depends_on_seed_and_number_alone() -> None:
    whole = Windows(shards(), CONTEXT, seed=5).batch(0, 3 * (TOTAL // CONTEXT))
    for step in (1, 7, 100):
        windows = Windows(shards(), CONTEXT, seed=5)
        parts = [windows.batch(first, min(step, len(whole[0]) - first)) for first in range(0, len(whole[0]), step)]
        for i in (0, 1):
            assert (np.concatenate([part[i] for part in parts]) == whole[i]).all()
    far = Windows(shards(), CONTEXT, seed=5).batch(2 * (TOTAL // CONTEXT), 3)  # a run that resumes there
    assert (far[0] == whole[0][2 * (TOTAL // CONTEXT) :][:3]).all()


def test_epochs_and_seeds_differ() -> None:
    windows = Windows(shards(), CONTEXT, seed=1)
    epochs = [windows.batch(epoch * windows.per_epoch, windows.per_epoch)[0] for epoch in range(3)]
    epochs.append(Windows(shards(), CONTEXT, seed=2).batch(0, windows.per_epoch)[0])
    for i, one in enumerate(epochs):
        for other in epochs[:i]:
            assert not (one == other).all(axis=1).any()  # not one window at the same place
            same = set(map(bytes, one)) & set(map(bytes, other))
            assert len(same) < windows.per_epoch / 10  # other neighbours, other phase


def test_the_draw_is_fixed_for_ever() -> None:
    # A change of these numbers means that no checkpoint resumes where it was.
    assert Windows(shards(), 8, seed=3).batch(0, 2)[0][:, :2].tolist() == [[15827, 15828], [4701, 4702]]
    assert Windows(shards(), 8, seed=3).batch(10**6, 2)[0][:, :2].tolist() == [[19286, 19287], [13598, 13599]]


@pytest.mark.parametrize("shard_tokens", [1, 63, 1000])
def test_windows_across_shards_equal_those_of_one_shard(shard_tokens: int) -> None:
    one, many = Windows(shards(), CONTEXT, seed=7), Windows(shards(shard_tokens), CONTEXT, seed=7)
    for mine, other in zip(one.batch(200, 150), many.batch(200, 150), strict=True):
        assert (mine == other).all()


@pytest.mark.parametrize("total", [CONTEXT + 1, CONTEXT + 2, 2 * CONTEXT - 1, 2 * CONTEXT, 2 * CONTEXT + 1, 1000])
def test_short_splits(total: int) -> None:
    lengths = np.array([total - 3, 3])
    windows = Windows(shards(total, lengths), CONTEXT, seed=0)
    inputs, targets = windows.batch(0, 50 * windows.per_epoch)
    assert inputs.max() < total and targets.max() < total


def test_all_phases_are_drawn() -> None:
    lengths = np.array([200])
    windows = Windows(shards(200, lengths), CONTEXT, seed=0)
    firsts = {int(windows.batch(epoch * windows.per_epoch, windows.per_epoch)[0].min()) for epoch in range(1000)}
    assert firsts == set(range(CONTEXT))


def test_a_context_longer_than_the_split() -> None:
    with pytest.raises(
        ValueError, match=r"context: a window of 64 \+ 1 tokens is longer than the training split of 64 tokens"
    ):
        Windows(shards(64, np.array([64])), CONTEXT, seed=0)
    with pytest.raises(ValueError, match="seed: -1 is negative"):
        Windows(shards(), CONTEXT, seed=-1)


def test_the_cost_does_not_grow_with_the_split(tmp_path: Path) -> None:
    """100M tokens in 200,000 documents, on the disk: a batch far into an epoch takes milliseconds."""
    total = 100_000_000
    file = tmp_path / "tokens.npy"
    array = np.memmap(file, mode="w+", dtype=np.uint16, shape=(total,))  # sparse: no bytes on the disk
    starts = np.arange(0, total, 500)
    big = Shards(total, "", starts, np.array([total]), (array,), np.zeros_like(starts), ("all",))
    windows = Windows(big, 1024, seed=0)
    windows.batch(0, 1)  # draws the epoch
    start = time.process_time()
    for step in range(10):
        windows.batch(step * 4000, 32)
    assert (time.process_time() - start) / 10 < 0.2
    assert big.document_starts.nbytes + 3 * 200_000 * 8 + windows.per_epoch * 8 < 20_000_000
