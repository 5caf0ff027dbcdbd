"""Which samples are computed together: steps drawn epoch by epoch, each cut into micro-batches with little padding.

A step's gradient is the mean over its learned tokens, so how it is cut into micro-batches changes nothing but the
padding and the peak memory: neighbours in length go together. The whole plan is fixed before the first step, so that
a resumed training sees the batches that the uninterrupted one would have seen.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from stages.lib.lora.masks import IGNORED, MaskedChat

Rows = list[list[int]]  # a micro-batch: the positions of samples; packed: one row, to be joined


def plan_steps(lengths: Sequence[int], sequences: int, micro_batches: int, steps: int, seed: int) -> list[Rows]:
    """The micro-batches of each step: `sequences` samples per step in `micro_batches` groups.

    Each epoch is another permutation of all samples; a step may reach over the end of an epoch.

    Raises:
        ValueError: there are fewer samples than a step has micro-batches.
    """
    if len(lengths) < micro_batches:
        raise ValueError(
            f"{len(lengths)} training samples for {micro_batches} micro-batches: lower gradient_accumulation_steps"
        )
    generator = np.random.default_rng(seed)
    order: list[int] = []
    while len(order) < steps * sequences:
        order += generator.permutation(len(lengths)).tolist()
    return [
        balanced(order[start : start + sequences], lengths, micro_batches)
        for start in range(0, steps * sequences, sequences)
    ]


def balanced(members: Sequence[int], lengths: Sequence[int], groups: int) -> Rows:
    """Cuts the members, sorted by length, into groups of neighbours: the least largest group, then the least in all.

    What counts is a group's padded size, members x longest. Longest members first, so that memory peaks at once.
    """
    ordered = sorted(members, key=lambda i: (-lengths[i], i))
    n = len(ordered)
    best: list[dict[int, tuple[int, int, int]]] = [{0: (0, 0, 0)}]  # cut -> (largest, sum, where the group began)
    for group in range(1, groups + 1):
        best.append({})
        for end in range(group, n - (groups - group) + 1):
            options = []
            for start, (largest, total, _) in best[group - 1].items():
                if start < end:
                    size = (end - start) * lengths[ordered[start]]
                    options.append((max(largest, size), total + size, start))
            best[group][end] = min(options)
    cuts = [n]
    for group in range(groups, 0, -1):
        cuts.append(best[group][cuts[-1]][2])
    cuts.reverse()
    return [ordered[a:b] for a, b in pairwise(cuts)]


def padded_tokens(rows: Sequence[int], lengths: Sequence[int], packing: bool) -> int:
    """Tokens that a micro-batch computes."""
    sizes = [lengths[i] for i in rows]
    return sum(sizes) if packing else len(sizes) * max(sizes)


def collate(samples: Sequence[MaskedChat], pad_id: int, packing: bool) -> dict[str, Any]:
    """Tensors of a micro-batch.

    Padded on the right: input_ids, labels, attention_mask, each (B, T). Packed: input_ids, labels and position_ids,
    each (1, sum of lengths); positions begin at 0 with each sample, which is how transformers tells the samples
    apart in its attention masks, and a sample's first token is never learned from the sample before.
    """
    import torch

    if packing:
        ids = [token for sample in samples for token in sample.input_ids]
        labels = [label for sample in samples for label in [IGNORED, *sample.labels[1:]]]
        positions = [place for sample in samples for place in range(len(sample.input_ids))]
        return {
            "input_ids": torch.tensor([ids]),
            "labels": torch.tensor([labels]),
            "position_ids": torch.tensor([positions]),
        }
    longest = max(len(sample.input_ids) for sample in samples)
    shape = (len(samples), longest)
    ids_, labels_ = torch.full(shape, pad_id), torch.full(shape, IGNORED)
    mask = torch.zeros(shape, dtype=torch.long)
    for row, sample in enumerate(samples):
        size = len(sample.input_ids)
        ids_[row, :size] = torch.tensor(sample.input_ids)
        labels_[row, :size] = torch.tensor(sample.labels)
        mask[row, :size] = 1
    return {"input_ids": ids_, "labels": labels_, "attention_mask": mask}
