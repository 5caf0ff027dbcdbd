"""Pairs of query and document, scored by the workers of a Ray cluster: each worker opens the reranker of the entry."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from stages.lib.cache.ledger import Ledger
from stages.lib.reranking.pair_scores import HandedOn, QueryDocument
from stages.lib.reranking.rerankers import encoder_reranker
from stages.lib.spread.cluster import Cluster
from stages.lib.spread.pieces import Compute, Failed
from stages.lib.spread.places import found_anywhere
from stages.lib.weights.models import ModelEntry


def by_workers(cluster: Cluster | None, entry: ModelEntry) -> HandedOn | None:
    """What open_encoder_reranker takes to have pairs scored by a cluster's workers; None: there is none."""
    if cluster is None:
        return None
    opener = partial(open_scoring, found_anywhere(entry))

    def handed_on(batches: list[list[QueryDocument]]) -> Iterator[tuple[Sequence[QueryDocument], Sequence[Any]]]:
        pairs = list(chain(*batches))
        first = 0
        pieces = []
        for batch in batches:
            pieces.append(list(range(first, first + len(batch))))
            first += len(batch)
        for done in cluster.each(opener, pairs, pieces):
            found = [RuntimeError(one.error) if isinstance(one, Failed) else one for one in done.results]
            yield [pairs[place] for place in done.places], found

    return handed_on


def open_scoring(entry: ModelEntry) -> Compute[QueryDocument, dict[str, Any]]:
    """In a worker: what scores the pairs of a batch."""
    reranker = encoder_reranker(entry, Ledger(Path(":memory:")), None)  # what it finds is kept by the driver

    def score(batch: Sequence[QueryDocument]) -> list[dict[str, Any]]:
        ((*answers,),) = reranker.compute([list(batch)])
        return answers

    return score
