"""Attention of transformers models as generation needs it: nothing that queries or rows share is copied for each.

Models with grouped queries (Ainslie et al., arXiv:2305.13245) have fewer key/value heads than
query heads, and transformers' `sdpa` repeats keys and values for each of them at every token:
for SmolLM2, 16 rows and 500 tokens on a CPU three quarters of a step's time. The queries of a
group read the same keys, so here they are the positions of one attention instead.

Where all rows begin with the same tokens, these tokens' keys and values are one row, which the queries of all rows read
together, as in Hydragen (Juravsky et al., arXiv:2402.05099); the softmax is over both parts.

Shapes: B rows, H query heads, K key/value heads, G = H / K of a group, L queries a row, P shared keys, T keys of a
row's own, D head dimension.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "llmill_grouped"


class SharedPrefix:
    """Keys and values (1, K, P, D) of the tokens that all rows begin with, of each layer; counts who reads them."""

    def __init__(self, layers: list[tuple[Tensor, Tensor]]) -> None:
        self._layers = layers
        self.reads = 0

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        """A layer's keys and values."""
        self.reads += 1
        return self._layers[layer]


def takes_shared_prefix(model: Any) -> bool:
    """Whether a model's layers attend by `grouped_attention` and hand it what the model is called with."""
    attention = model.config.get_text_config()._attn_implementation
    return attention == NAME and bool(getattr(model, "_supports_attention_backend", False))


def grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    shared_prefix: SharedPrefix | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attends from query (B, H, L, D) to key and value (B, K, T, D), and to the shared prefix where there is one.

    `attention_mask`: (B, 1, L, P + T), True where a query sees a key; None: all of them (L = 1).
    Without a prefix L > 1 goes to `sdpa`, which takes None for the keys before a query.
    """
    rows, heads, length, width = query.shape
    if shared_prefix is not None:
        prefix = shared_prefix.read(module.layer_idx)  # type: ignore[arg-type]
        return _two_parts(query, *prefix, key, value, attention_mask, scaling or width**-0.5), None
    if length > 1:
        long: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return long
    groups = key.shape[1]
    result = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, groups, heads // groups, width), key, value, attn_mask=attention_mask, scale=scaling
    )  # (B, K, G, D)
    return result.reshape(rows, 1, heads, value.shape[-1]), None


def _two_parts(  # noqa: PLR0917  # two pairs of keys and values
    query: Tensor,
    prefix_key: Tensor,
    prefix_value: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
) -> Tensor:
    """Attention (B, L, H, D) to (1, K, P, D) keys and values that all rows see and to (B, K, T, D) of their own."""
    rows, heads, length, width = query.shape
    groups, shared, own = key.shape[1], prefix_key.shape[2], key.shape[2]
    query = query.reshape(rows, groups, -1, width) * scaling  # (B, K, G L, D)
    together = query.transpose(0, 1).reshape(groups, -1, width)  # (K, B G L, D)
    scores = query.new_empty(rows, groups, query.shape[2], shared + own)  # (B, K, G L, P + T)
    scores[..., :shared] = (together @ prefix_key[0].transpose(1, 2)).view(groups, rows, -1, shared).transpose(0, 1)
    scores[..., shared:] = query @ key.transpose(2, 3)
    assert mask is not None or length == 1
    if mask is not None:
        unseen = ~mask[..., -own:].unsqueeze(-3)  # (B, 1, 1, L, T): the prefix is seen by all
        scores[..., shared:].unflatten(2, (-1, length)).masked_fill_(unseen, -torch.inf)  # type: ignore[no-untyped-call]
    weights = scores.softmax(-1)
    result = weights[..., shared:] @ value  # (B, K, G L, D)
    first = weights[..., :shared].transpose(0, 1).reshape(groups, -1, shared) @ prefix_value[0]  # (K, B G L, D)
    result += first.view(groups, rows, -1, result.shape[-1]).transpose(0, 1)
    return result.view(rows, heads, length, -1).transpose(1, 2).contiguous()


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
