"""Losses in nats per target before and after finetuning: on held-out examples, and on the text of the pretraining.

The second shows forgetting: the same windows of the validation shards, spread evenly over all of them.
"""

import math
from pathlib import Path

from stages.lib.gpt.model import GPT
from stages.lib.launching.world import World
from stages.lib.shards.reading import MANIFEST, open_shards, read_manifest
from stages.lib.tokens.tokenizers import Tokenizer
from stages.lib.training.held_out import HeldOut, SpreadWindows
from stages.lib.training.validation_loss import Batches, mean_loss


def loss_and_perplexity(model: GPT, batches: Batches, count: int, micro_batch: int) -> dict[str, float]:
    """Mean loss in nats per target over sequences 0..count-1 in float32, and the perplexity, which is its exponential.

    By this process alone; the model is in eval mode.
    """
    alone = World(0, 1, next(model.parameters()).device)
    loss = mean_loss(model, batches, count, micro_batch=micro_batch, precision="float32", world=alone)
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # a float ends at e^709


def pretraining_text(
    directory: Path, tokenizer: Tokenizer, context: int, windows: int
) -> tuple[SpreadWindows | None, str]:
    """Windows of the validation split of shards; or None, and why none can be read by this model.

    Args:
        directory: of the stage shard.
        tokenizer: of the model.
        context: tokens per window.
        windows: so many, spread evenly; 0: all.

    Raises:
        ValueError: shards that are broken.
    """
    if not (directory / MANIFEST).is_file():
        return None, f"{directory / MANIFEST} is not there: the model was not pretrained here"
    found = read_manifest(directory)["tokenizer"]
    if found["identity"] != tokenizer.identity:
        return None, f"{directory} holds ids of the tokenizer {found['name']!r}, the model's is {tokenizer.name!r}"
    every = HeldOut(open_shards(directory, "val", tokenizer), context)
    return every.spread(min(windows or every.count, every.count)), ""
