"""The loss of each validation sample by itself, so that before and after can be compared in pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.lib.lora.batches import collate
from stages.lib.lora.masks import Sample


def sample_losses(model: Any, samples: Sequence[Sample], pad_id: int, batch_tokens: int) -> npt.NDArray[np.float64]:
    """Mean nats a learned token of each sample, (samples,), in eval mode.

    Samples of like length are computed together, at most `batch_tokens` with padding; logits only where learned.
    """
    import torch

    from stages.lib.lora.supervised_logits import token_losses

    order = sorted(range(len(samples)), key=lambda i: -len(samples[i].input_ids))
    losses = np.zeros(len(samples))
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with torch.no_grad():
        start = 0
        while start < len(order):
            size = max(1, batch_tokens // len(samples[order[start]].input_ids))
            members = order[start : start + size]
            start += len(members)
            batch = collate([samples[i] for i in members], pad_id, packing=False)
            inputs = {name: tensor.to(device) for name, tensor in batch.items()}
            labels = inputs.pop("labels")
            nats, rows = token_losses(model, inputs, labels)
            sums = torch.zeros(len(members), device=device).index_add_(0, rows, nats)
            losses[members] = (sums / rows.bincount(minlength=len(members))).double().cpu().numpy()
    model.train(training)
    return losses
