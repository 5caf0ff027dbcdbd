"""Scores -> rankings: exact dense search at any Matryoshka dimension, sparse scores, reranked candidates, fusion.

Letters: Q queries, N documents, H the model's dimension, d a truncated one. A ranking is a
vector of columns (document numbers), best first, at most `depth` long. Columns stand in the
tie order of trec_eval, descending document id (`tie_order`), and scores are compared as
32-bit floats, so that a stable sort gives exactly the ranking that `measures.rank` gives.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from stages.lib.search.fusion import reciprocal_rank_fusion
from stages.lib.search.top_k import exact_top_k

Ranking = npt.NDArray[np.int64]


def tie_order(ids: Sequence[str]) -> list[int]:
    """Positions of the ids in descending order: what to reorder documents by before ranking."""
    return sorted(range(len(ids)), key=lambda i: ids[i], reverse=True)


def truncate(vectors: npt.NDArray[np.float32], dimension: int) -> npt.NDArray[np.float32]:
    """The first d of H numbers of each vector, L2-normalised again (Matryoshka, Kusupati et al. 2022), (n, d).

    At d = H the vectors (n, H), which are normalised, stay as they are. A vector whose first d
    numbers are all zero stays zero: it is similar to nothing.
    """
    if dimension == vectors.shape[1]:
        return vectors
    head = vectors[:, :dimension].astype(np.float64)
    norms = np.linalg.norm(head, axis=1, keepdims=True)
    shortened: npt.NDArray[np.float32] = (head / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    return shortened


def rank_dense(
    queries: npt.NDArray[np.float32],
    documents: npt.NDArray[np.float32],
    ids: Sequence[str],
    columns_of: npt.NDArray[np.int64],
    *,
    dimension: int,
    depth: int,
) -> list[Ranking]:
    """Exact cosine search with d of H dimensions: one ranking a query.

    Args:
        queries: (Q, H).
        documents: (N, H), in any order, which may be a mapped file: a block at a time is looked at.
        ids: (N,) of the documents, in their order.
        columns_of: (N,) the place of each document in tie order.
        dimension: d.
        depth: the most columns of a ranking.
    """
    found = exact_top_k(
        truncate(queries, dimension), documents, depth, ids, prepare=lambda block: truncate(block, dimension)
    )
    rankings = []
    for rows, scores in zip(found.indices, found.scores, strict=True):
        columns = columns_of[rows]
        order = np.argsort(columns)  # to tie order, which decides between equal scores
        rankings.append(columns[order][rank_scores(scores[order].astype(np.float32), depth)])
    return rankings


def rank_scores(scores: npt.NDArray[np.float32], depth: int, retrieved: npt.NDArray[np.bool_] | None = None) -> Ranking:
    """The columns of the best `depth` of the scores (N,); ties keep the columns' order.

    Args:
        scores: (N,), columns in tie order.
        depth: the most columns to return.
        retrieved: (N,) which columns count as retrieved at all; all of them by default.
    """
    columns = np.arange(len(scores)) if retrieved is None else np.flatnonzero(retrieved)
    values = scores[columns]
    if len(columns) > depth:
        last = np.partition(values, len(values) - depth)[len(values) - depth]
        columns, values = columns[values >= last], values[values >= last]  # all that tie with the last one stay in
    return columns[np.argsort(-values, kind="stable")][:depth].astype(np.int64)


def rank_sparse(scores: Iterable[npt.NDArray[np.float32]], depth: int) -> list[Ranking]:
    """One ranking a query of its scores (N,); documents that share no word with the query (0) are not retrieved."""
    return [rank_scores(row, depth, retrieved=row > 0) for row in scores]


def put_first(candidates: Ranking, dense: Ranking) -> Ranking:
    """A reranked list: the candidates in their new order, then the others in dense order, as long as `dense`.

    A reranker sees only its candidates; with the dense order kept below them its row is
    measured over the same depth as the dense row.
    """
    order: Ranking = np.concatenate([candidates, dense[~np.isin(dense, candidates)]])[: len(dense)]
    return order


def fuse_rankings(
    first: Sequence[Ranking], second: Sequence[Ranking], documents: int, k: int, depth: int
) -> list[Ranking]:
    """Reciprocal rank fusion of two systems' rankings of N documents, query by query; no more than `depth` each.

    A document that neither ranking holds is left out.
    """
    fused = []
    for pair in zip(first, second, strict=True):
        scores = reciprocal_rank_fusion(pair, documents, k)  # (N,)
        fused.append(rank_scores(scores.astype(np.float32), depth, retrieved=scores > 0))
    return fused
