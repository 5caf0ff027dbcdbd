"""From logits to the next token: greedy, or drawn after temperature, top-k, top-p and a penalty for repetition.

Pure functions. Letters in shapes: B sequences, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

GREEDY_BELOW = 1e-5  # temperature: as vLLM's sampler has it; logits divided by less overflow, or tie in float32
_LARGEST = 1e30  # of a logit that a penalty made: far from overflow, whatever temperature comes next


@dataclass(frozen=True, kw_only=True)
class TokenSampling:
    """How a token is chosen; the steps are taken in the order of transformers: penalty, temperature, top-k, top-p."""

    temperature: float = 1.0  # logits are divided by it, >= 0; 0, or below 1e-5: greedy, the likeliest token
    top_k: int = 0  # only the k likeliest tokens, >= 0; 0: all
    top_p: float = 1.0  # only the likeliest tokens which together reach this probability, 0 < p <= 1; 1: all
    repetition_penalty: float = 1.0  # tokens seen before get less likely above 1, > 0; 1: none

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature: {self.temperature} is not a number from 0 (0 is greedy)")
        if self.top_k < 0:
            raise ValueError(f"top_k: {self.top_k} is below 0 (0 keeps all tokens)")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p: {self.top_p} is not above 0 and at most 1 (1 keeps all tokens)")
        if not 0 < self.repetition_penalty < float("inf"):
            raise ValueError(f"repetition_penalty: {self.repetition_penalty} is not above 0 (1 is no penalty)")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken, by no draw."""
        return self.temperature < GREEDY_BELOW


PRESETS = {
    "conservative": TokenSampling(temperature=0.6, top_k=40),
    "nucleus": TokenSampling(temperature=0.8, top_p=0.9),
    "greedy": TokenSampling(temperature=0.0),
}


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Divides positive logits of seen tokens by the penalty, multiplies negative ones; (B, V) -> (B, V).

    `seen` (B, V) is True for the tokens that a sequence holds, prompt included. Keskar et al. 2019 (CTRL,
    arXiv:1909.05858), section 4.1; they divide negative logits too, which would reward them, so that every
    implementation since multiplies.
    """
    penalized = torch.where(logits > 0, logits / penalty, logits * penalty).clamp(-_LARGEST, _LARGEST)
    return torch.where(seen, penalized, logits)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Sets all but the k largest logits to -inf, (B, V) -> (B, V); what ties with the k-th stays."""
    smallest_kept = logits.topk(min(k, logits.shape[-1]), dim=-1).values[:, -1:]  # (B, 1)
    return logits.masked_fill(logits < smallest_kept, -torch.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keeps the fewest tokens whose probabilities add up to at least p, the others get -inf, (B, V) -> (B, V).

    At least one is kept. Nucleus sampling, Holtzman et al. 2020 (arXiv:1904.09751), section 3.1.
    """
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    likelier = probabilities.cumsum(dim=-1) - probabilities  # (B, V): mass of the tokens in front of each
    dropped = likelier >= p
    dropped[:, 0] = False
    return logits.masked_fill(dropped.gather(-1, order.argsort(dim=-1)), -torch.inf)


def adjust(logits: Tensor, sampling: TokenSampling, seen: Tensor | None = None) -> Tensor:
    """Applies penalty, temperature, top-k and top-p as far as they are set, (B, V) -> (B, V) in float32.

    `seen`: see `penalize_repetition`; it is needed for a penalty only.
    """
    logits = logits.float()
    if sampling.repetition_penalty != 1.0:
        assert seen is not None
        logits = penalize_repetition(logits, seen, sampling.repetition_penalty)
    if not sampling.greedy and sampling.temperature != 1:
        logits = logits / sampling.temperature
    if sampling.top_k:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p < 1:
        logits = keep_top_p(logits, sampling.top_p)
    return logits


def sequence_generator(seed: int, sequence: int) -> torch.Generator:
    """A generator for one sequence of a batch, so that its tokens do not depend on the others in the batch."""
    state = np.random.SeedSequence([seed, sequence]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def choose(
    logits: Tensor, sampling: TokenSampling, generators: Sequence[torch.Generator], seen: Tensor | None = None
) -> Tensor:
    """The next token of every sequence, (B, V) -> (B,); `generators` holds one per sequence.

    Every generator gives one number per token, on the CPU whatever the device of the logits, which picks the token
    by the inverse of the cumulative distribution.
    """
    logits = adjust(logits, sampling, seen)
    if sampling.greedy:
        return logits.argmax(dim=-1)
    uniform = torch.cat([torch.rand(1, generator=one, dtype=torch.float64) for one in generators])  # (B,) in [0, 1)
    cumulative = logits.double().softmax(dim=-1).cumsum(dim=-1)  # (B, V)
    # The first token whose cumulative probability lies above the drawn point: never one of probability 0.
    point = uniform.to(logits.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, point, right=True).squeeze(-1)
