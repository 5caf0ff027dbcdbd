"""Shards -> batches: an endless, shuffled sequence of windows that is a function of (seed, number) alone.

In every epoch the documents are put into a new order and joined into one stream (each keeps its eot), the stream is
cut into windows from a random phase, and the windows are visited in a new order. So no two epochs show a token with
the same neighbours at a document's ends, or in the same place of a window, and any position of the sequence can be
computed without those before it: that makes resuming, and any number of processes, exact.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.lib.shards.reading import Shards

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Epoch:
    number: int
    order: Int64s  # (documents,): the document at each place of the stream
    ends: Int64s  # (documents,): where in the stream each place's document ends
    phase: int  # where in the stream the first window starts
    windows: Int64s  # (per_epoch,): the window to visit at each place


class Windows:
    """Windows of `context` + 1 tokens, at a stride of `context`: every token is a target once an epoch.

    Left out of an epoch are the tokens before the phase and those of the last, partial window.
    """

    def __init__(self, shards: Shards, context: int, seed: int) -> None:
        if shards.tokens < context + 1:
            raise ValueError(
                f"context: a window of {context} + 1 tokens is longer than the training split of {shards.tokens} "
                "tokens; lower context, or give the stage shard more text"
            )
        if seed < 0:
            raise ValueError(f"seed: {seed} is negative")
        self.shards, self.context, self.seed = shards, context, seed
        # So many windows that any phase below `context` fits: each epoch has as many as the others.
        self.per_epoch = max(1, (shards.tokens - context) // context)
        self._lengths = np.diff(shards.document_starts, append=shards.tokens)
        self._epoch: _Epoch | None = None

    def batch(self, first: int, count: int) -> tuple[Int64s, Int64s]:
        """Sequences number first..first+count-1: inputs and targets, (count, context) each."""
        rows = np.empty((count, self.context + 1), dtype=np.int64)
        for i in range(count):
            epoch, place = divmod(first + i, self.per_epoch)
            self._fill(rows[i], self._get_epoch(epoch), place)
        return rows[:, :-1], rows[:, 1:]

    def _fill(self, row: Int64s, epoch: _Epoch, place: int) -> None:
        start = epoch.phase + int(epoch.windows[place]) * self.context  # in the stream
        slot = int(np.searchsorted(epoch.ends, start, side="right"))
        filled = 0
        while filled < len(row):
            document = int(epoch.order[slot])
            left = int(epoch.ends[slot]) - start  # of the document
            take = min(left, len(row) - filled)
            inside = int(self._lengths[document]) - left
            row[filled : filled + take] = self.shards.read(int(self.shards.document_starts[document]) + inside, take)
            filled += take
            start += take
            slot += 1

    def _get_epoch(self, number: int) -> _Epoch:
        if self._epoch is None or self._epoch.number != number:
            self._epoch = self._draw(number)
        return self._epoch

    def _draw(self, number: int) -> _Epoch:
        documents = len(self._lengths)
        # The epoch is the counter's highest word, so that no epoch reaches the numbers of another. Sorting raw numbers
        # gives an order that no later version of numpy may change (NEP 19 fixes only bit generators).
        philox = np.random.Philox(key=self.seed, counter=np.array([0, 0, 0, number], dtype=np.uint64))
        order = np.argsort(philox.random_raw(documents), kind="stable")
        windows = np.argsort(philox.random_raw(self.per_epoch), kind="stable")
        slack = min(self.context - 1, self.shards.tokens - 1 - self.per_epoch * self.context)
        phase = int(philox.random_raw()) % (slack + 1)
        return _Epoch(number, order, np.cumsum(self._lengths[order]), phase, windows)
