"""What all prompts of a call begin with: its keys and values are computed once, and every batch goes on from them."""

from collections.abc import Sequence
from typing import Any

import torch

from stages.lib.decoding.roomy_cache import RoomyCache
from stages.lib.llm.token_tree import shared_length
from stages.lib.weights.single_threads import each_by_one_thread


def prefix_length(prompts: Sequence[Sequence[int]]) -> int:
    """P, tokens that all prompts (none empty) begin with; of the shortest one at least its last token is left."""
    return min(shared_length(prompts), min(map(len, prompts)) - 1)


def compute_prefix(model: Any, tokens: Sequence[int]) -> RoomyCache | None:
    """Keys and values of tokens (P,), on a CPU by one thread; None where there is no token."""
    layers = model.config.get_text_config().num_hidden_layers

    @torch.inference_mode()
    def begin(tokens: Sequence[int]) -> RoomyCache:
        prefix = RoomyCache(layers, len(tokens))
        model(
            input_ids=torch.tensor([list(tokens)], device=model.device),  # (1, P)
            past_key_values=prefix,
            use_cache=True,
            logits_to_keep=1,
        )
        return prefix

    if not tokens:
        return None
    if model.device.type != "cpu":
        return begin(tokens)
    (prefix,) = each_by_one_thread(begin, [tokens])
    return prefix
