"""From token states to one vector a text. B texts, T tokens (padding included), H the hidden size."""

from collections.abc import Callable

import torch

Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (B, T, H), (B, T) 1 for real tokens -> (B, H)


def mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The average over the real tokens (Sentence-BERT, https://arxiv.org/abs/1908.10084, section 3)."""
    weights = mask.unsqueeze(-1).to(states.dtype)  # (B, T, 1)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)  # (B, H)


def first_token(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The state of the first real token ([CLS] in BERT)."""
    return states[torch.arange(len(states), device=states.device), mask.long().argmax(dim=1)]  # (B, H)


def last_token(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The state of the last real token, on whichever side the padding is (`last_token_pool` of Qwen3-Embedding)."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    return states[torch.arange(len(states), device=states.device), (mask.long() * positions).argmax(dim=1)]  # (B, H)


def maximum(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The largest value over the real tokens, dimension by dimension."""
    return states.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)  # (B, H)


POOLINGS: dict[str, Pool] = {"mean": mean, "cls": first_token, "lasttoken": last_token, "max": maximum}
