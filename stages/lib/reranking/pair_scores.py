"""What every reranker takes and gives, and the ledger in front of those that compute here.

A score belongs to a (query, document) pair alone, never to the list that the pair came in, so
runs over other instructions or embeddings find the pairs that they share already scored in
`.cache/rerank/ledger.sqlite`. Batches are planned over all pairs of a run and stored whole.
"""

import json
import math
from collections.abc import Callable, Generator, Iterator, Sequence
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


# Batches of pairs -> (a batch, its answers or why there is none), in any order: by others than this process.
HandedOn = Callable[[list[list[QueryDocument]]], Iterator[tuple[Sequence[QueryDocument], Sequence[Any]]]]


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
    handed_on: HandedOn | None = None,
) -> list[Any]:
    """The answers (anything JSON) to the pairs, computed batch by batch where the ledger lacks them.

    Args:
        ledger: the store.
        pairs: what is asked; a pair may occur twice.
        identity: what else than the pair decides an answer: weights, versions, settings.
        plan: splits the distinct pairs into batches.
        compute: yields the answers to each batch, in order. A batch of which one answer is missing is computed whole.
        progress: names the progress bar.
        handed_on: has the batches computed elsewhere. An answer that it cannot get is an exception, and not stored.
    """
    distinct = list(dict.fromkeys(pairs))
    keys = {pair: ledger_key(*identity, *pair) for pair in distinct}
    known = ledger.get(list(keys.values()))
    failed: dict[str, Exception] = {}
    if len(known) < len(distinct):
        todo = [batch for batch in plan(distinct) if any(keys[pair] not in known for pair in batch)]
        with bar(progress, sum(map(len, todo)), "pair") as counter:
            for batch, found in handed_on(todo) if handed_on else _in_order(compute, todo):
                new = {}
                for pair, answer in zip(batch, found, strict=True):
                    if isinstance(answer, Exception):
                        failed[keys[pair]] = answer
                    elif keys[pair] not in known:  # what an earlier run answered stays as it was
                        new[keys[pair]] = json.dumps(answer).encode()
                ledger.put(new.items())
                known.update(new)
                counter.update(len(batch))
    return [json.loads(known[key]) if (key := keys[pair]) in known else failed[key] for pair in pairs]


def _in_order(
    compute: Callable[[list[list[QueryDocument]]], Generator[list[Any], None, None]], batches: list[list[QueryDocument]]
) -> Iterator[tuple[list[QueryDocument], list[Any]]]:
    with closing(compute(batches)) as computed:
        yield from zip(batches, computed, strict=True)


def pair_scores(answers: Sequence[Any], value: Callable[[Any], float]) -> PairScores:
    """The scores of the answers of `through_ledger`, of which `value` makes a number; NaN where there is none."""
    values = [math.nan if isinstance(answer, Exception) else value(answer) for answer in answers]
    return PairScores(
        np.array(values, dtype=np.float64).round(SCORE_DECIMALS),
        sum(answer["truncated"] for answer in answers if not isinstance(answer, Exception)),
        tuple(str(answer) for answer in answers if isinstance(answer, Exception)),
    )
