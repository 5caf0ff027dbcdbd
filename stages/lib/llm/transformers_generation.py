"""Replies of a transformers model, in batches of like length, what all prompts share computed once.

Against `model.generate`: the common beginning of all prompts is computed once and not once a
row, keys and values are never copied as they grow, rows that are done leave the batch, and a
sampled token depends on its request's seed and not on its neighbours. The loop over tokens is
decoding/roomy_cache's; GRPO's rollouts (grpo/rollouts.py) run the same with another choice of tokens.

Shapes: P tokens that all prompts share, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from stages.lib.decoding.roomy_cache import GrowingBatch, RoomyCache
from stages.lib.llm.protocol import Sampling
from stages.lib.llm.token_tree import shared_length

Tokens = Sequence[int]


class Grammar(Protocol):
    """What restricts a reply's tokens (json_grammar.JsonGrammar)."""

    def restrict(self, logits: torch.Tensor) -> None:
        """Sets the logits (V,) of tokens that may not come next to -inf, in place."""

    def consume(self, token: int) -> bool:
        """Takes the chosen token; True when the reply is complete."""


@dataclass
class RunningReply:
    """One reply in the making."""

    request: int  # position in the list of requests
    sampling: Sampling
    is_stopped: Callable[[list[int]], bool]  # whether the new tokens hold a stop string
    grammar: Grammar | None = None
    tokens: list[int] = field(default_factory=list)  # new ones, without the end-of-text token
    finish_reason: str = ""  # "": still growing

    def __post_init__(self) -> None:
        """Seeds the row's own random numbers."""
        self.random = torch.Generator().manual_seed(self.sampling.seed)

    @property
    def takes_likeliest(self) -> bool:
        """Whether the next token is the likeliest one, whatever it is."""
        return self.sampling.temperature == 0 and self.grammar is None

    def choose(self, logits: torch.Tensor) -> int:
        """The next token, from logits (V,)."""
        if self.grammar:
            self.grammar.restrict(logits)
        if self.sampling.temperature == 0:
            return int(logits.argmax())
        probabilities, order = (logits / self.sampling.temperature).softmax(-1).sort(descending=True)
        mass = probabilities.cumsum(-1)
        # Nucleus sampling (Holtzman et al., arXiv:1904.09751): the smallest set of tokens that holds top_p.
        count = int((mass < self.sampling.top_p).sum()) + 1
        draw = torch.rand((), generator=self.random) * mass[:count][-1].cpu()
        return int(order[min(int((mass[:count] <= draw.to(mass)).sum()), count - 1)])

    def push(self, token: int, ends: set[int]) -> None:
        """Takes the next token and sees whether the reply ends with it."""
        if token in ends:
            self.finish_reason = "stop"
            return
        self.tokens.append(token)
        complete = self.grammar is not None and self.grammar.consume(token)
        if complete or (self.sampling.stop and self.is_stopped(self.tokens)):
            self.finish_reason = "stop"
        elif len(self.tokens) == self.sampling.max_tokens:
            self.finish_reason = "length"


def plan_batches(lengths: Sequence[int], max_tokens: Sequence[int], size: int) -> list[list[int]]:
    """Requests of like length together, the longest first, so that memory runs out early or never."""
    order = sorted(range(len(lengths)), key=lambda i: (-max_tokens[i], -lengths[i], i))
    return [order[start : start + size] for start in range(0, len(order), size)]


@torch.inference_mode()
def generate_rows(
    model: Any,
    prompts: Sequence[Tokens],
    rows: dict[int, RunningReply],
    *,
    max_tokens: Sequence[int],
    size: int,
    ends: set[int],
) -> Iterator[list[RunningReply]]:
    """Completes rows[i] (the missing ones) after prompts[i] (token ids, not empty), batch by batch.

    The batches of `size` are planned over all prompts and hold the rows that are asked for.
    """
    layers = model.config.get_text_config().num_hidden_layers
    shared = min(shared_length(prompts), min(map(len, prompts)) - 1)
    prefix = None
    if shared:
        prefix = RoomyCache(layers, shared)
        model(
            input_ids=torch.tensor([prompts[0][:shared]], device=model.device),  # (1, P)
            past_key_values=prefix,
            use_cache=True,
            logits_to_keep=1,
        )
    for batch in plan_batches([len(prompt) for prompt in prompts], max_tokens, size):
        growing = [rows[i] for i in batch if i in rows]
        if growing:
            room = max(len(prompts[row.request]) + row.sampling.max_tokens for row in growing)
            cache = RoomyCache.beginning_with(prefix, layers, len(growing), room)
            _complete(model, cache, [prompts[row.request][shared:] for row in growing], growing, ends)
            yield growing


def _complete(
    model: Any, cache: RoomyCache, rests: Sequence[Tokens], rows: Sequence[RunningReply], ends: set[int]
) -> None:
    """Grows the rows of one batch until each is finished; `rests` is what follows the P shared tokens in the cache."""

    def choose(logits: torch.Tensor, alive: list[int]) -> list[int]:
        likeliest = logits.argmax(-1).tolist()
        return [
            likeliest[place] if rows[row].takes_likeliest else rows[row].choose(logits[place])
            for place, row in enumerate(alive)
        ]

    def push(row: int, token: int) -> bool:
        rows[row].push(token, ends)
        return rows[row].finish_reason != ""

    GrowingBatch(model, cache, rests).grow(choose, push)
