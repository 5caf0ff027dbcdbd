"""Logits only where a token is learned: a prompt's hidden states never meet the vocabulary."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from stages.lib.lora.masks import IGNORED


def token_losses(model: Any, inputs: dict[str, Tensor], labels: Tensor) -> tuple[Tensor, Tensor]:
    """Nats of each learned token, (N,), and which row of the batch it is in, (N,).

    Args:
        model: a causal language model, with or without adapters, also in DistributedDataParallel.
        inputs: what it takes besides labels; input_ids are (B, T).
        labels: (B, T), IGNORED where nothing is learned; the label of a position is predicted from the one before.
    """
    wanted = torch.zeros_like(labels, dtype=torch.bool)
    wanted[:, :-1] = labels[:, 1:] != IGNORED
    targets = labels[:, 1:][wanted[:, :-1]]
    with head_sees_only(model, wanted):
        logits = model(**inputs, use_cache=False).logits  # (N, V)
    return cross_entropy(logits.float(), targets, reduction="none"), wanted.nonzero()[:, 0]


@contextmanager
def head_sees_only(model: Any, wanted: Tensor) -> Iterator[None]:
    """Inside the block, the output layer is applied to the hidden states at `wanted` (B, T) alone, giving (N, V).

    The model's own forward pass does the rest, so that whatever it does to its logits (scaling, soft caps) holds.
    """
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    head = inner.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, arguments: (arguments[0][wanted],))
    try:
        yield
    finally:
        hook.remove()
