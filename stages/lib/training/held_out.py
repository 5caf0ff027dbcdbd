"""The validation split as windows: all of it, or some that are spread evenly over it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.lib.shards.reading import Shards
from stages.lib.tokens.targets import IGNORED

Int64s = npt.NDArray[np.int64]
SPREAD = "spread evenly"  # which windows a validation in training takes, as checkpoints note it


class HeldOut:
    """Windows of `context` + 1 tokens at a stride of `context`, in the split's order.

    Every token but the split's first is a target of exactly one window. The last window is filled up with token 0,
    whose places have no target.
    """

    def __init__(self, shards: Shards, context: int) -> None:
        if shards.tokens < 2:
            raise ValueError(
                f"the validation split has {shards.tokens} token: raise val_fraction of the stage shard, or give it "
                "more text"
            )
        self.shards, self.context = shards, context
        self.count = -(-(shards.tokens - 1) // context)  # windows

    def batch(self, first: int, count: int) -> tuple[Int64s, Int64s]:
        """Windows number first..first+count-1: inputs and targets, (count, context) each; none behind the last."""
        return self.windows(np.arange(first, first + count))

    def windows(self, numbers: Int64s) -> tuple[Int64s, Int64s]:
        """Windows of these numbers; one that there is not is all filling."""
        inputs = np.zeros((len(numbers), self.context), dtype=np.int64)
        targets = np.full((len(numbers), self.context), IGNORED, dtype=np.int64)
        for row, number in enumerate(numbers.tolist()):
            start = number * self.context
            length = min(self.context, self.shards.tokens - 1 - start)
            if length > 0:
                tokens = self.shards.read(start, length + 1)
                inputs[row, :length], targets[row, :length] = tokens[:-1], tokens[1:]
        return inputs, targets

    def documents(self, number: int) -> Int64s:
        """The number of the document that each target of a window belongs to, (targets,)."""
        start = number * self.context
        places = np.arange(start + 1, min(start + self.context, self.shards.tokens - 1) + 1)
        found: Int64s = np.searchsorted(self.shards.document_starts, places, side="right") - 1
        return found

    def spread(self, count: int) -> "SpreadWindows":
        """So many of the windows, evenly over the split: of `count` equal parts the window in the middle of each."""
        assert 1 <= count <= self.count, (count, self.count)
        return SpreadWindows(self, (2 * np.arange(count) + 1) * self.count // (2 * count))


@dataclass(frozen=True)
class SpreadWindows:
    """Some windows of the validation split, numbered anew: what a validation in training takes."""

    held_out: HeldOut
    numbers: Int64s  # (windows,): in the whole split, ascending

    def batch(self, first: int, count: int) -> tuple[Int64s, Int64s]:
        """The windows in places first..first+count-1 of these; behind the last, filling."""
        taken = self.numbers[first : first + count]
        beyond = np.full(count - len(taken), self.held_out.count)
        return self.held_out.windows(np.concatenate([taken, beyond]))
