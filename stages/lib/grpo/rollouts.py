"""Replies of a model to token prompts for GRPO: what a group of replies shares is computed once.

Against `model.generate` on copies of a prompt (what TRL does): each distinct prompt is prefilled once and its keys and
values given to all its copies, they are never copied as they grow, replies that have ended leave the batch, and
LoRA weights are merged into a copy of the layers so that a token costs no more than it costs the base.

The loop over tokens is decoding/roomy_cache's, as in llm/transformers_generation.py. What differs, and why these two
stay: there each request has a seed of its own, a nucleus, stop strings and a grammar, so that a reply can be kept and
asked for again by itself; here tokens are drawn from the whole distribution, which is what the loss takes the replies
to be drawn from, and the groups of equal prompts are prefilled once each, not only what all prompts share.

Shapes: B replies, V vocabulary.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.lib.decoding.roomy_cache import GrowingBatch, RoomyCache


def distinct_rows(prompts: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[int]]:
    """The distinct prompts in order of first appearance, and which of them each prompt is."""
    places: dict[tuple[int, ...], int] = {}
    which = [places.setdefault(tuple(prompt), len(places)) for prompt in prompts]
    return [list(prompt) for prompt in places], which


@torch.no_grad()
def sample_replies(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    temperature: float,
    ends: Collection[int],
    seed: int,
    first: int = 0,
    batch: int = 0,
) -> list[list[int]]:
    """New tokens after each prompt, the end token with them where the reply ended.

    Args:
        model: a causal language model in eval mode with full attention.
        prompts: token ids, none empty; equal ones are prefilled once.
        max_tokens: new tokens per reply at most, >= 1.
        temperature: 0: the likeliest token; else of sampling from the whole distribution.
        ends: tokens that end a reply.
        seed: of sampling; each reply draws by it and by its number, whatever else is in its batch.
        first: the number of the first reply: other processes write those before it.
        batch: replies computed together, those of like length; 0: all.
    """
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    replies: list[list[int]] = [[] for _ in prompts]
    size = batch or len(prompts)
    for start in range(0, len(order), size):
        places = order[start : start + size]
        grown = _grow(
            model,
            [prompts[i] for i in places],
            max_tokens=max_tokens,
            temperature=temperature,
            ends=set(ends),
            drawn=torch.stack([random_numbers(seed, first + i, max_tokens) for i in places]),
        )
        for place, tokens in zip(places, grown, strict=True):
            replies[place] = tokens
    return replies


def _grow(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    temperature: float,
    ends: set[int],
    drawn: Tensor,
) -> list[list[int]]:
    """`drawn`: a random number for each token of each reply, (B, max_tokens)."""
    distinct, which = distinct_rows(prompts)
    room = max(map(len, distinct)) + max_tokens
    batch = GrowingBatch(model, RoomyCache(model.config.get_text_config().num_hidden_layers, room), distinct)
    batch.select_rows(which)
    replies: list[list[int]] = [[] for _ in prompts]
    drawn = drawn.to(model.device)

    def choose(logits: Tensor, rows: list[int]) -> list[int]:
        places = [min(len(replies[row]), max_tokens - 1) for row in rows]  # a reply that has ended may still be in
        chosen: list[int] = choose_tokens(logits, temperature, drawn[rows, places]).tolist()
        return chosen

    def push(reply: int, token: int) -> bool:
        replies[reply].append(token)
        return token in ends or len(replies[reply]) >= max_tokens

    batch.grow(choose, push, max_tokens)
    return replies


def random_numbers(seed: int, number: int, count: int) -> Tensor:
    """A reply's own, uniform in [0, 1), (count,) float64 on the CPU: the same ones on every machine and card."""
    raw = np.random.Philox(key=seed, counter=[0, 0, 0, number]).random_raw(count)
    return torch.from_numpy((raw >> np.uint64(11)) * 2.0**-53)


def choose_tokens(logits: Tensor, temperature: float, drawn: Tensor) -> Tensor:
    """The next token of each row of logits (B, V), by the inverse of the cumulative distribution at `drawn` (B,).

    `torch.multinomial` draws a random number for each token of the vocabulary: on a CPU, 15 ms of a step's 170.
    """
    if temperature == 0:
        return logits.argmax(-1)
    reached = (logits.double() / temperature).softmax(-1).cumsum(-1)  # (B, V)
    chosen = torch.searchsorted(reached, drawn[:, None] * reached[:, -1:], right=True)[:, 0]
    return chosen.clamp(max=logits.shape[-1] - 1)
