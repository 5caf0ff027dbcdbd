"""Replies of a transformers model, in batches of like length, what all prompts share computed once.

Against `model.generate`: the common beginning of all prompts is computed once and not once a
row, keys and values are never copied as they grow, rows that are done leave the batch, and a
sampled token depends on its request's seed and not on its neighbours. The loop over tokens is
decoding/roomy_cache's; GRPO's rollouts (grpo/rollouts.py) run the same with another choice of tokens.

On a CPU the batches are computed beside each other, each by one thread where there are as many as cores: then replies
have the same bits on any number of cores.

Shapes: P tokens that all prompts share, V vocabulary.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Protocol

import torch

from stages.lib.decoding.roomy_cache import GrowingBatch, RoomyCache
from stages.lib.llm.protocol import Sampling
from stages.lib.llm.shared_prefix import compute_prefix, prefix_length
from stages.lib.weights.single_threads import each_by_one_thread

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
    """Requests of like length together, at most `size`; the longest first, so that memory runs out early or never."""
    order = sorted(range(len(lengths)), key=lambda i: (-max_tokens[i], -lengths[i], i))
    return [order[start : start + size] for start in range(0, len(order), size)]


def even_size(requests: int, size: int) -> int:
    """The size, at most `size`, of an even number of batches, so that two cores end together."""
    pairs = math.ceil(requests / size / 2)
    return max(1, math.ceil(requests / (2 * pairs)))


@dataclass(frozen=True)
class RowsPlan:
    """How replies are computed: in batches that know nothing of each other."""

    batches: list[list[int]]  # positions of the requests that are computed together
    shared: int  # P
    threads: int  # of a batch, on a CPU


def plan_rows(
    prompts: Sequence[Tokens], max_tokens: Sequence[int], wanted: Collection[int], *, size: int, on_cpu: bool
) -> RowsPlan:
    """Batches of `size` or less, planned over all prompts (token ids, not empty); they hold those that are wanted."""
    size = even_size(len(prompts), size) if on_cpu else size
    planned = plan_batches([len(prompt) for prompt in prompts], max_tokens, size)
    batches = [present for batch in planned if (present := [i for i in batch if i in wanted])]
    return RowsPlan(batches, prefix_length(prompts), max(1, torch.get_num_threads() // max(1, len(batches))))


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

    The batches of `size` or less are planned over all prompts and hold the rows that are asked for.
    """
    plan = plan_rows(prompts, max_tokens, rows.keys(), size=size, on_cpu=model.device.type == "cpu")
    prefix = compute_prefix(model, prompts[0][: plan.shared])
    batches = [[rows[i] for i in batch] for batch in plan.batches]
    yield from complete_batches(model, prefix, prompts, batches, threads=plan.threads, ends=ends)


def complete_batches(
    model: Any,
    prefix: RoomyCache | None,
    prompts: Sequence[Tokens],
    batches: Sequence[list[RunningReply]],
    *,
    threads: int,
    ends: set[int],
) -> Iterator[list[RunningReply]]:
    """Completes the rows of each batch behind the P tokens of `prefix`, with which all prompts begin."""
    layers = model.config.get_text_config().num_hidden_layers
    shared = prefix.get_seq_length() if prefix else 0
    stopped = Event()

    @torch.inference_mode()
    def complete(growing: list[RunningReply]) -> list[RunningReply]:
        room = max(len(prompts[row.request]) + row.sampling.max_tokens for row in growing)
        cache = RoomyCache.beginning_with(prefix, layers, room)
        batch = GrowingBatch(model, cache, [prompts[row.request][shared:] for row in growing])
        _complete(batch, growing, ends, stopped)
        return growing

    if model.device.type != "cpu":
        yield from map(complete, batches)
    else:
        yield from each_by_one_thread(complete, batches, threads, stopped)


def _complete(batch: GrowingBatch, rows: Sequence[RunningReply], ends: set[int], stopped: Event) -> None:
    """Grows the rows of one batch until each is finished, or until the replies are not wanted any more."""

    def choose(logits: torch.Tensor, alive: list[int]) -> list[int]:
        if stopped.is_set():
            raise InterruptedError("the replies are not wanted any more")
        likeliest = logits.argmax(-1).tolist()
        return [
            likeliest[place] if rows[row].takes_likeliest else rows[row].choose(logits[place])
            for place, row in enumerate(alive)
        ]

    def push(row: int, token: int) -> bool:
        rows[row].push(token, ends)
        return rows[row].finish_reason != ""

    batch.grow(choose, push, max(row.sampling.max_tokens for row in rows))
