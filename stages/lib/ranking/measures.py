"""Retrieval measures as trec_eval 9 computes them, ties included.

Words: *qrels* say for each query how relevant each judged document is (an integer, not
judged = 0); a *run* gives each query's retrieved documents their scores; *gains* are the
relevance grades of the retrieved documents in ranked order.

Ties are broken as trec_eval breaks them: scores are compared as 32-bit floats, and equal
ones are ordered by document id, the larger string first. The order does not look at
relevance, so it favours no system: one that gives everything the same score gets what
that arbitrary order is worth, not the best of all orders.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Gains = npt.NDArray[np.int64]
NDCG_CUT = 10


def measure_names(top_k: Sequence[int]) -> list[str]:
    """The keys of `query_measures`, in its order."""
    return [*(f"accuracy_at_{k}" for k in top_k), "mrr", "map", f"ndcg_at_{NDCG_CUT}"]


def rank(scores: Mapping[str, float]) -> list[str]:
    """Orders documents by descending score; ties by descending id (trec_eval's order)."""
    return sorted(scores, key=lambda document: (np.float32(scores[document]), document), reverse=True)


def query_measures(gains: Gains, judged: Sequence[int], top_k: Sequence[int], level: int = 1) -> dict[str, float]:
    """Measures of one query's ranking.

    Args:
        gains: (retrieved,) grades of the retrieved documents, best ranked first; not judged = 0.
        judged: grades of all judged documents of this query, in any order.
        top_k: the k of accuracy_at_k.
        level: the lowest grade that counts as relevant (nDCG uses the grades themselves).

    Returns:
        accuracy_at_k (1 if a relevant document is among the first k; trec_eval: success_k),
        mrr (reciprocal rank of the first relevant one, 0 if there is none; recip_rank),
        map (average precision over all relevant ones, those not retrieved count 0; map) and
        ndcg_at_10 (gain = grade, discount log2(rank + 1); ndcg_cut_10).
    """
    relevant_ranks = np.flatnonzero(gains >= level) + 1  # (retrieved and relevant,), 1 = first
    relevant_count = sum(grade >= level for grade in judged)
    first = int(relevant_ranks[0]) if len(relevant_ranks) else 0
    # Precision at the rank of the i-th relevant document is i / rank.
    precisions = np.arange(1, len(relevant_ranks) + 1) / relevant_ranks
    ideal = np.sort(np.asarray(judged, dtype=np.int64))[::-1]
    best = _discounted(ideal)
    return {
        **{f"accuracy_at_{k}": float(0 < first <= k) for k in top_k},
        "mrr": 1.0 / first if first else 0.0,
        "map": float(precisions.sum()) / relevant_count if relevant_count else 0.0,
        f"ndcg_at_{NDCG_CUT}": _discounted(gains) / best if best else 0.0,
    }


def _discounted(gains: Gains) -> float:
    """Discounted cumulative gain of the first ten; trec_eval gives negative grades no gain."""
    head = np.maximum(gains[:NDCG_CUT], 0)
    return float((head / np.log2(np.arange(2, len(head) + 2))).sum())


def evaluate(
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Mapping[str, float]],
    top_k: Sequence[int],
    level: int = 1,
    complete: bool = False,
) -> dict[str, dict[str, float]]:
    """Measures of each query, in the order of the qrels; `mean_measures` averages them.

    Args:
        qrels: query -> document -> grade.
        run: query -> document -> score.
        top_k: the k of accuracy_at_k.
        level: the lowest grade that counts as relevant.
        complete: judged queries without results count 0 (trec_eval -c); otherwise they are left out.

    Raises:
        ValueError: no query is in both the qrels and the run (and `complete` is off), or there are no qrels.
    """
    result: dict[str, dict[str, float]] = {}
    for query, grades in qrels.items():
        if query in run:
            gains = np.array([grades.get(document, 0) for document in rank(run[query])], dtype=np.int64)
        elif complete:
            gains = np.zeros(0, dtype=np.int64)
        else:
            continue
        result[query] = query_measures(gains, list(grades.values()), top_k, level)
    if not result:
        raise ValueError(
            f"nothing to evaluate: {len(qrels)} judged queries, {len(run)} queries with results, none in both"
        )
    return result


def mean_measures(per_query: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The mean of each measure over the queries."""
    rows = list(per_query.values())
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
