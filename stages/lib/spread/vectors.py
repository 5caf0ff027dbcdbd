"""Batches of texts, embedded by the workers of a Ray cluster: each worker opens the encoder that the entry names."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from stages.lib.embedding.embedders import HandedOn
from stages.lib.embedding.encoders import open_encoder
from stages.lib.spread.cluster import Cluster
from stages.lib.spread.pieces import Compute, Failed
from stages.lib.spread.places import found_anywhere
from stages.lib.weights.models import ModelEntry, locate


def by_workers(cluster: Cluster | None, entry: ModelEntry) -> HandedOn | None:
    """What embedders.open_embedder takes to have batches computed by a cluster's workers; None: there is none."""
    if cluster is None:
        return None
    opener = partial(open_encoding, found_anywhere(entry))

    def handed_on(
        prepared: Sequence[Any], batches: list[list[int]]
    ) -> Iterator[tuple[Sequence[int], Sequence[np.ndarray | Exception]]]:
        for done in cluster.each(opener, prepared, batches):
            yield done.places, [RuntimeError(one.error) if isinstance(one, Failed) else one for one in done.results]

    return handed_on


def open_encoding(entry: ModelEntry) -> Compute[Any, np.ndarray]:
    """In a worker: what embeds the texts of a batch, as the encoder has prepared them."""
    encoder = open_encoder(entry, locate(entry))

    def encode(batch: Sequence[Any]) -> list[np.ndarray]:
        (vectors,) = encoder.encode([list(batch)])
        return list(vectors)

    return encode
