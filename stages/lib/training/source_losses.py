"""The loss of a model over all of validation: its mean, the mean's standard error, and both for each source.

Tokens of one document are alike in how well they are foretold, so the standard error is that of clusters: the mean is
the ratio of the sums of nats and of targets over documents, and its variance the ratio estimator's (Cochran, Sampling
Techniques, 3rd ed., eq. 2.39, without the finite-population correction). Where fewer than 10 documents are measured,
the clusters are windows; since neighbouring windows of a document are alike too, that error is too small.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812

from stages.lib.core.progress import bar
from stages.lib.gpt.evaluating import evaluating
from stages.lib.gpt.model import GPT
from stages.lib.tokens.targets import IGNORED
from stages.lib.training.held_out import HeldOut
from stages.lib.training.precision import Precision, in_bfloat16, products

LEAST_DOCUMENTS = 10  # clusters; of fewer a variance says little
_HEAD_ROWS = 1_024  # logits computed at once
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """What was measured, one entry for every part of a document within one window; (pieces,) each."""

    window: Ints
    document: Ints
    source: Ints
    targets: Floats  # how many
    nats: Floats  # their loss in all

    def of_source(self, source: int) -> "Pieces":
        """Those of one source."""
        there = self.source == source
        return Pieces(
            window=self.window[there],
            document=self.document[there],
            source=self.source[there],
            targets=self.targets[there],
            nats=self.nats[there],
        )


@dataclass(frozen=True, kw_only=True)
class MeanLoss:
    """A mean loss and how sure it is."""

    loss: float  # nats per target
    standard_error: float | None  # of the loss; None: one cluster alone
    over: Literal["documents", "windows"]  # the clusters
    tokens: int  # targets
    documents: int

    def __str__(self) -> str:
        if self.standard_error is None:
            return f"{self.loss:.4f}"
        return f"{self.loss:.4f} +- {self.standard_error:.4f} (standard error over {self.over})"

    def as_record(self) -> dict[str, Any]:
        """For the metrics."""
        return {
            "loss": self.loss,
            "standard_error": self.standard_error,
            "standard_error_over": self.over,
            "tokens": self.tokens,
            "documents": self.documents,
        }


def measure(model: GPT, held_out: HeldOut, micro_batch: int, precision: Precision) -> Pieces:
    """The loss of every target of the split, by window and document; one process alone, a micro-batch a pass."""
    device = next(model.parameters()).device
    windows, documents, targets, nats = [], [], [], []
    with evaluating(model), bar("all of validation", held_out.count, "window") as counter:
        for first in range(0, held_out.count, micro_batch):
            count = min(micro_batch, held_out.count - first)
            losses = _losses(model, *held_out.batch(first, count), precision, device)
            for number, row in enumerate(losses, start=first):
                found = held_out.documents(number)
                present, place = np.unique(found, return_inverse=True)
                windows.append(np.full(len(present), number))
                documents.append(present)
                targets.append(np.bincount(place).astype(np.float64))
                nats.append(np.bincount(place, weights=row[: len(found)]))
            counter.update(count)
    document = np.concatenate(documents)
    return Pieces(
        window=np.concatenate(windows),
        document=document,
        source=held_out.shards.document_sources[document],
        targets=np.concatenate(targets),
        nats=np.concatenate(nats),
    )


def mean_of(pieces: Pieces) -> MeanLoss:
    """The mean over all targets of some pieces, at least one."""
    documents = len(np.unique(pieces.document))
    over: Literal["documents", "windows"] = "documents" if documents >= LEAST_DOCUMENTS else "windows"
    cluster = pieces.document if over == "documents" else pieces.window
    _, place = np.unique(cluster, return_inverse=True)
    targets = np.bincount(place, weights=pieces.targets)  # (clusters,)
    nats = np.bincount(place, weights=pieces.nats)
    loss = float(nats.sum() / targets.sum())
    count = len(targets)
    error = None
    if count > 1:
        squares = float(((nats - loss * targets) ** 2).sum())
        error = math.sqrt(count / (count - 1) * squares) / float(targets.sum())
    return MeanLoss(loss=loss, standard_error=error, over=over, tokens=int(targets.sum()), documents=documents)


def by_source(pieces: Pieces, names: tuple[str, ...]) -> dict[str, MeanLoss]:
    """The mean of each source that has targets, by its name."""
    return {names[number]: mean_of(pieces.of_source(number)) for number in np.unique(pieces.source).tolist()}


def _losses(
    model: GPT, inputs: np.ndarray, targets: np.ndarray, precision: Precision, device: torch.device
) -> np.ndarray:
    """Nats of each target, (B, T); 0 where there is none."""
    ids, wanted = (torch.from_numpy(array).to(device) for array in (inputs, targets))
    with products(precision), torch.autocast(device.type, dtype=torch.bfloat16, enabled=in_bfloat16(precision)):
        hidden = model.hidden(ids).flatten(0, 1)  # (B T, C)
        parts = [
            F.cross_entropy(model.logits(part).float(), target, ignore_index=IGNORED, reduction="none")
            for part, target in zip(
                torch.split(hidden, _HEAD_ROWS), torch.split(wanted.flatten(), _HEAD_ROWS), strict=True
            )
        ]
    found: np.ndarray = torch.cat(parts).cpu().numpy().astype(np.float64).reshape(targets.shape)
    return found
