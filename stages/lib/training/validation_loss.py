"""The loss of a model over given sequences, in validation and in a training step."""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.core.progress import each
from stages.lib.launching.world import World
from stages.lib.tokens.targets import IGNORED
from stages.lib.training.precision import Precision, in_bfloat16, products


class Batches(Protocol):
    """An endless sequence of training sequences, each a function of its number."""

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of sequences first..first+count-1, int64 (count, T)."""


def batch_loss(model: nn.Module, inputs: Tensor, targets: Tensor, precision: Precision, device: torch.device) -> Tensor:
    """Mean loss in nats per target of one batch; inputs and targets int64 (B, T), on the CPU or the device."""
    ids, wanted = (tensor.to(device, non_blocking=True) for tensor in (inputs, targets))
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=in_bfloat16(precision)):
        loss: Any = model(ids, targets=wanted)
    assert isinstance(loss, Tensor)
    return loss


@torch.no_grad()
def mean_loss(
    model: nn.Module, batches: Batches, count: int, *, micro_batch: int, precision: Precision, world: World
) -> float:
    """Mean loss in nats per target over sequences 0..count-1, computed by all processes together; model in eval mode.

    Args:
        model: as it is called in training (DDP, FSDP), or the plain one.
        batches: the sequences.
        count: how many of them.
        micro_batch: sequences a forward pass.
        precision: bfloat16: under autocast.
        world: this process among all; each takes its share.
    """
    summed, targets_seen = 0.0, 0.0
    for start in each(range(0, count, micro_batch * world.size), "validation", "batch"):
        # Every process calls the model as often (FSDP needs that); what is past the end counts for nothing.
        first = start + world.rank * micro_batch
        inputs, targets = batches.batch(min(first, count - 1), micro_batch)
        beyond = np.arange(micro_batch)[:, None] >= count - first
        targets = np.where(beyond, IGNORED, targets)
        known = int((targets != IGNORED).sum())
        with products(precision):
            found = batch_loss(model, torch.from_numpy(inputs), torch.from_numpy(targets), precision, world.device)
        loss = float(found)
        summed, targets_seen = summed + (loss * known if known else 0.0), targets_seen + known
    total, seen = world.total([summed, targets_seen])
    return total / seen
