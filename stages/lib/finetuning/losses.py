"""Losses in nats per target before and after finetuning: on held-out examples, and on the text of the pretraining.

The second shows forgetting: the same windows of the validation shards, spread evenly over all of them.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from stages.lib.gpt.model import GPT
from stages.lib.shards.reading import MANIFEST, open_shards, read_manifest
from stages.lib.tokens.targets import IGNORED
from stages.lib.tokens.tokenizers import Tokenizer
from stages.lib.training.loader import Windows


class Epoch(Protocol):
    """Sequences with a number of them that is one epoch."""

    @property
    def per_epoch(self) -> int:
        """Sequences an epoch."""

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of sequences first..first+count-1, int64 (count, T)."""


@torch.no_grad()
def epoch_loss(model: GPT, batches: Epoch, micro_batch: int) -> dict[str, float]:
    """Mean loss in nats per target over one epoch, and the perplexity, which is its exponential."""
    device = next(model.parameters()).device
    summed, targets_seen = 0.0, 0
    for first in range(0, batches.per_epoch, micro_batch):
        arrays = batches.batch(first, min(micro_batch, batches.per_epoch - first))
        inputs, targets = (torch.from_numpy(array).to(device) for array in arrays)
        count = int((targets != IGNORED).sum())
        summed, targets_seen = summed + float(model(inputs, targets=targets)) * count, targets_seen + count
    loss = summed / targets_seen
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # a float ends at e^709


@dataclass(frozen=True)
class SpreadWindows:
    """Windows spread evenly over a split, in its order: an `Epoch`."""

    windows: Windows  # not shuffled
    numbers: list[int]

    @property
    def per_epoch(self) -> int:
        """How many windows there are."""
        return len(self.numbers)

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets, int64 (count, context) each."""
        rows = [self.windows.batch(number, 1) for number in self.numbers[first : first + count]]
        return np.concatenate([inputs for inputs, _ in rows]), np.concatenate([targets for _, targets in rows])


def pretraining_text(
    directory: Path, tokenizer: Tokenizer, context: int, windows: int, seed: int
) -> tuple[SpreadWindows | None, str]:
    """The validation windows of the shards in `directory`; or None, and why nothing of it can be read by this model.

    Args:
        directory: of the stage shard.
        tokenizer: of the model.
        context: tokens per window.
        windows: so many, spread evenly; 0: all.
        seed: names the epoch; without a shuffle it decides nothing.

    Raises:
        ValueError: shards that are broken.
    """
    if not (directory / MANIFEST).is_file():
        return None, f"{directory / MANIFEST} is not there: the model was not pretrained here"
    found = read_manifest(directory)["tokenizer"]
    if found["identity"] != tokenizer.identity:
        return None, f"{directory} holds ids of the tokenizer {found['name']!r}, the model's is {tokenizer.name!r}"
    shards = open_shards(directory, "val", tokenizer)
    if shards.tokens < context + 1:
        return None, f"{directory}: the validation split has {shards.tokens} tokens, less than one window of {context}"
    every = Windows(shards, context, seed, shuffle=False)
    count = min(windows or every.per_epoch, every.per_epoch)
    return SpreadWindows(every, [(2 * i + 1) * every.per_epoch // (2 * count) for i in range(count)]), ""
