"""HellaSwag of a model in the middle of its training, by all processes together."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch.distributed.fsdp import FSDPModule

from stages.lib.gpt.model import GPT
from stages.lib.hellaswag.items import HellaSwagItem
from stages.lib.hellaswag.scoring import MEASURES, count_correct
from stages.lib.launching.world import World
from stages.lib.tokens.tokenizers import Tokenizer
from stages.lib.training.precision import Precision, in_bfloat16

COLUMNS = ("items", *MEASURES)
_DIVIDED_BATCH = 2048  # tokens a batch with FSDP, where all their logits are made: 0.4 GB at GPT-2's vocabulary


def score_together(
    model: GPT, tokenizer: Tokenizer, items: Sequence[HellaSwagItem], world: World, precision: Precision
) -> dict[str, float]:
    """How many items, and the share of them that each measure of `hellaswag` answers rightly.

    Every process calls it and takes every n-th item. Counts are summed, so the result is that of one process. It
    computes as the training does, in bfloat16 under autocast if that does.
    """

    def most(calls: int) -> int:
        return int(max(world.total([float(calls * (rank == world.rank)) for rank in range(world.size)])))

    share = items[world.rank :: world.size]
    with torch.autocast(world.device.type, dtype=torch.bfloat16, enabled=in_bfloat16(precision)):
        counts: Counter[str] = (
            count_correct(model, tokenizer, share, world.device, _DIVIDED_BATCH, most=most)
            if isinstance(model, FSDPModule)
            else count_correct(model, tokenizer, share, world.device)
        )
    right = dict(zip(COLUMNS, world.total([float(counts[name]) for name in COLUMNS]), strict=True))
    return {name: right[name] / (1 if name == "items" else right["items"]) for name in COLUMNS}
