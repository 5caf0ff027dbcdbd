"""What every reranker takes and gives, and the ledger in front of those that compute here.

A score belongs to a (query, document) pair alone, never to the list that the pair came in, so
runs over other instructions or embeddings find the pairs that they share already scored in
`.cache/rerank/ledger.sqlite`. Batches are planned over all pairs of a run and stored whole.
"""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from stages.lib.cache.ledger import Ledger
from stages.lib.core.hashes import ledger_key
from stages.lib.core.progress import bar

LEDGER_FILE = Path("rerank") / "ledger.sqlite"
SCORE_DECIMALS = 5  # what is the same whatever a pair was batched with; closer scores are ties


class QueryDocument(NamedTuple):
    """What a reranker reads."""

    query: str
    document: str


@dataclass(frozen=True)
class PairScores:
    """One score a pair, in the order of the pairs; greater is better."""

    values: np.ndarray  # (pairs,) float64, rounded to SCORE_DECIMALS; NaN where the request failed
    truncated: int  # pairs that did not fit the model and were cut
    errors: tuple[str, ...] = ()  # of the requests that failed, why


class Reranker(Protocol):
    """Reads the query and the document together."""

    def score(self, pairs: Sequence[QueryDocument], progress: str | None = None) -> PairScores:
        """Scores each pair; `progress` names the progress bar."""


def through_ledger(
    ledger: Ledger,
    pairs: Sequence[QueryDocument],
    *,
    identity: Sequence[Any],
    plan: Callable[[list[QueryDocument]], list[list[QueryDocument]]],
    compute: Callable[[list[list[QueryDocument]]], Generator[list[Any], None, None]],
    progress: str | None,
) -> list[Any]:
    """The answers (anything JSON) to the pairs, computed batch by batch where the ledger lacks them.

    Args:
        ledger: the store.
        pairs: what is asked; a pair may occur twice.
        identity: what else than the pair decides an answer: weights, versions, settings.
        plan: splits the distinct pairs into batches.
        compute: yields the answers to each batch, in order. A batch of which one answer is missing is computed whole.
        progress: names the progress bar.
    """
    distinct = list(dict.fromkeys(pairs))
    keys = {pair: ledger_key(*identity, *pair) for pair in distinct}
    known = ledger.get(list(keys.values()))
    if len(known) < len(distinct):
        todo = [batch for batch in plan(distinct) if any(keys[pair] not in known for pair in batch)]
        with bar(progress, sum(map(len, todo)), "pair") as counter, closing(compute(todo)) as computed:
            for batch, found in zip(todo, computed, strict=True):
                answers = zip(batch, found, strict=True)
                # What an earlier run answered stays as it was.
                new = {keys[pair]: json.dumps(answer).encode() for pair, answer in answers if keys[pair] not in known}
                ledger.put(new.items())
                known.update(new)
                counter.update(len(batch))
    return [json.loads(known[keys[pair]]) for pair in pairs]
