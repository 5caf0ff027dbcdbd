"""The loss of each validation sample by itself, so that before and after can be compared in pairs."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.lib.cache.code_identity import code_identity
from stages.lib.core.progress import detail
from stages.lib.core.records import write_json
from stages.lib.lora.batches import collate
from stages.lib.lora.masks import MaskedChat
from stages.lib.statistics.bootstrap import bootstrap_intervals

Losses = npt.NDArray[np.float64]  # nats per learned token of each sample, (samples,)


def sample_losses(model: Any, samples: Sequence[MaskedChat], pad_id: int, batch_tokens: int) -> Losses:
    """Mean nats per learned token of each sample, (samples,), in eval mode.

    Samples of like length are computed together, at most `batch_tokens` with padding; logits only where learned.
    """
    import torch

    from stages.lib.lora.supervised_logits import token_losses

    order = sorted(range(len(samples)), key=lambda i: -len(samples[i].input_ids))
    losses = np.zeros(len(samples))
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    with torch.no_grad(), detail("validation", len(order), "sample") as counter:
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
            counter.update(len(members))
            losses[members] = (sums / rows.bincount(minlength=len(members))).double().cpu().numpy()
    model.train(training)
    return losses


def kept_losses(directory: Path, name: str, compute: Callable[[], Losses], val: Sequence[MaskedChat]) -> Losses:
    """The validation samples' losses that a run of the same training has measured already, or new ones.

    `name`: of what is measured: before, or after with a hash of the adapter.
    """
    kept = directory / f"{name}_{code_identity(sample_losses)[:16]}.json"
    names = [sample.id for sample in val]
    if kept.is_file():
        content = json.loads(kept.read_text(encoding="utf-8"))
        if content["ids"] == names:
            return np.array(content["losses"])
    losses = compute()
    write_json(kept, {"ids": names, "losses": losses.tolist()})
    return losses


def fall(before: Losses, after: Losses, samples: int, seed: int) -> dict[str, Any]:
    """By how much the samples' losses fell: paired, with a 95% interval from `samples` bootstrap samples."""
    difference = before - after
    low, high = bootstrap_intervals(difference[:, None], samples, seed)
    return {
        "val_loss_before": float(before.mean()),
        "val_loss_after": float(after.mean()),
        "val_loss_fall": float(difference.mean()),
        "val_loss_fall_low": float(low[0]),
        "val_loss_fall_high": float(high[0]),
        "val_samples_improved": int((difference > 0).sum()),
    }
