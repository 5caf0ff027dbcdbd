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

    `attention_mask`: (B, 1, L, P + T), True where a query sees a key; None: all of them (L = 1), or for L > 1 without a
    prefix those before it. On a GPU L > 1 goes to `sdpa`.
    """
    rows, heads, length, width = query.shape
    if shared_prefix is not None:
        prefix = shared_prefix.read(module.layer_idx)  # type: ignore[arg-type]
        if length == 1:
            return _two_parts(query, *prefix, key, value, attention_mask, scaling or width**-0.5), None
        # A prompt's many queries are worth a copy of the prefix: one kernel is faster than two parts and their sum.
        assert attention_mask is not None
        key, value = (
            torch.cat([first.expand(rows, -1, -1, -1), own], 2) for first, own in zip(prefix, (key, value), strict=True)
        )
    if length > 1 and (attention_mask is None or query.device.type != "cpu"):
        long: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return long
    groups = key.shape[1]
    mask = attention_mask
    if mask is not None and length > 1:
        mask = mask.repeat(1, 1, heads // groups, 1)  # (B, 1, G L, P + T)
    result = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, groups, -1, width), key, value, attn_mask=mask, scale=scaling
    )  # (B, K, G L, D)
    return result.reshape(rows, heads, length, -1).transpose(1, 2).contiguous(), None


def _two_parts(  # noqa: PLR0917  # two pairs of keys and values
    query: Tensor,
    prefix_key: Tensor,
    prefix_value: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
) -> Tensor:
    """Attention (B, 1, H, D) to keys and values (1, K, P, D) that all rows see, and to (B, K, T, D) of their own."""
    rows, heads, _, width = query.shape
    groups, shared, own = key.shape[1], prefix_key.shape[2], key.shape[2]
    query = query.reshape(rows, groups, -1, width) * scaling  # (B, K, G, D)
    together = query.transpose(0, 1).reshape(groups, -1, width)  # (K, B G, D)
    scores = query.new_empty(rows, groups, query.shape[2], shared + own)  # (B, K, G, P + T)
    scores[..., :shared] = (together @ prefix_key[0].transpose(1, 2)).view(groups, rows, -1, shared).transpose(0, 1)
    scores[..., shared:] = query @ key.transpose(2, 3)
    if mask is not None:
        scores[..., shared:].masked_fill_(~mask[..., -own:], -torch.inf)  # (B, 1, 1, T): all see the prefix
    weights = scores.softmax(-1)
    result = weights[..., shared:] @ value  # (B, K, G, D)
    first = weights[..., :shared].transpose(0, 1).reshape(groups, -1, shared) @ prefix_value[0]  # (K, B G, D)
    result += first.view(groups, rows, -1, result.shape[-1]).transpose(0, 1)
    return result.view(rows, 1, heads, -1)


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
