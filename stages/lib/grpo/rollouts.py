"""Replies of a model to token prompts for GRPO: what a group of replies shares is computed once.

Against `model.generate` on copies of a prompt (what TRL does): each distinct prompt is prefilled once and its keys and
values given to all its copies, they are never copied as they grow, replies that have ended leave the batch, and
LoRA weights are merged into a copy of the layers so that a token costs no more than it costs the base.

Shapes: U distinct prompts, B replies, P tokens of the longest prompt, V vocabulary.
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from stages.lib.decoding.roomy_cache import RoomyCache

KEEP_ROWS = 0.75  # the batch is made smaller when this share of its rows or less is alive


def distinct_rows(prompts: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[int]]:
    """The distinct prompts in order of first appearance, and which of them each prompt is."""
    places: dict[tuple[int, ...], int] = {}
    which = [places.setdefault(tuple(prompt), len(places)) for prompt in prompts]
    return [list(prompt) for prompt in places], which


def left_padded(prompts: Sequence[Sequence[int]], pad: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Token ids and mask (1: a token), each (U, P)."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    return ids, mask


@torch.no_grad()
def sample_replies(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    temperature: float,
    ends: Collection[int],
    seed: int,
    batch: int = 0,
) -> list[list[int]]:
    """New tokens after each prompt, the end token with them where the reply ended.

    Args:
        model: a causal language model in eval mode with full attention.
        prompts: token ids, none empty; equal ones are prefilled once.
        max_tokens: new tokens per reply at most.
        temperature: 0: the likeliest token; else of sampling from the whole distribution.
        ends: tokens that end a reply.
        seed: of sampling; the replies depend on it and on the prompts of their batch.
        batch: replies computed together, those of like length; 0: all.
    """
    generator = torch.Generator(device=model.device).manual_seed(seed)
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
            generator=generator,
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
    generator: torch.Generator,
) -> list[list[int]]:
    device = model.device
    distinct, which = distinct_rows(prompts)
    ids, mask = left_padded(distinct, pad=0, device=device)  # (U, P)
    cache = RoomyCache(model.config.get_text_config().num_hidden_layers, ids.shape[1] + max_tokens)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    logits = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]  # (U, V)
    rows = torch.tensor(which, device=device)
    cache.select_rows(rows)
    logits, mask, position = logits[rows], mask[rows], positions[rows, -1:]  # (B, V), (B, P), (B, 1)
    replies: list[list[int]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))  # the reply that each row of the batch grows
    for step in range(max_tokens):
        tokens = choose_tokens(logits, temperature, generator)  # (B,)
        keep = []
        for row, (reply, token) in enumerate(zip(alive, tokens.tolist(), strict=True)):
            if replies[reply] and replies[reply][-1] in ends:
                continue  # ended, and still in the batch
            replies[reply].append(token)
            if token not in ends:
                keep.append(row)
        if not keep or step == max_tokens - 1:
            break
        if len(keep) <= KEEP_ROWS * len(alive):
            chosen = torch.tensor(keep, device=device)
            cache.select_rows(chosen)
            tokens, mask, position = tokens[chosen], mask[chosen], position[chosen]
            alive = [alive[row] for row in keep]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        position = position + 1
        logits = model(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]  # (B, V)
    return replies


def choose_tokens(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """The next token of each row of logits (B, V), drawn by the inverse of the cumulative distribution.

    `torch.multinomial` draws a random number for each token of the vocabulary: on a CPU, 15 ms of a step's 170.
    """
    if temperature == 0:
        return logits.argmax(-1)
    reached = (logits.double() / temperature).softmax(-1).cumsum(-1)  # (B, V)
    drawn = torch.rand(len(logits), 1, generator=generator, device=logits.device, dtype=torch.float64)
    return torch.searchsorted(reached, drawn * reached[:, -1:], right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
