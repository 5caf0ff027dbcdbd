"""Exact top-k by dot product: every document is looked at, in float64, with ties in the order of the ids.

Letters: q queries, n documents, d dimensions, k results a query.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# Scores that agree to this many decimals are ties. Vectors are float32 (7 digits), dot products are
# summed in float64: what differs beyond is the order in which BLAS added, not the documents.
TIE_DECIMALS = 12
BLOCK_SCORES = 8_000_000  # scores held at once, 64 MB
BLOCK_DOCUMENTS = 8192  # documents widened to float64 at once; 64 MB at 1024 dimensions


@dataclass(frozen=True)
class TopK:
    """The best documents of each query, best first."""

    indices: np.ndarray  # (q, k) int64, rows of the document matrix
    scores: np.ndarray  # (q, k) float64, dot products rounded to TIE_DECIMALS


def exact_top_k(
    queries: np.ndarray,
    documents: np.ndarray,
    k: int,
    ids: Sequence[str],
    prepare: Callable[[np.ndarray], np.ndarray] | None = None,
) -> TopK:
    """The k documents with the greatest dot product for each query; equal scores go by id, lowest first.

    The documents are gone through once, a block at a time, so they may lie in a mapped file.

    Args:
        queries: (q, d) floats.
        documents: (n, H) floats; H is d where there is no `prepare`.
        k: results a query; the whole corpus where it has fewer.
        ids: n distinct names of the documents, which decide ties.
        prepare: makes rows (b, d) of a block of documents (b, H), each row of its own alone.

    Raises:
        ValueError: shapes that do not go together, repeated ids, k < 1, or a vector with NaN or infinity.
    """
    if queries.ndim != 2 or documents.ndim != 2 or (prepare is None and queries.shape[1] != documents.shape[1]):
        raise ValueError(f"queries {queries.shape} and documents {documents.shape} do not go together")
    if len(ids) != len(documents) or len(set(ids)) != len(ids):
        raise ValueError(f"{len(documents)} documents need as many distinct ids, found {len(set(ids))} of {len(ids)}")
    if k < 1 or not len(documents):
        raise ValueError(f"no top {k} of {len(documents)} documents")
    k = min(k, len(documents))
    order = np.argsort(np.array(ids))  # (n,) documents by id
    place = np.empty(len(ids), dtype=np.int64)  # (n,) each document's place in that order
    place[order] = np.arange(len(ids))

    indices = np.zeros((len(queries), k), dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf)
    filled = 0  # results that each query has so far
    wide = queries.astype(np.float64)
    step = max(1, BLOCK_SCORES // min(BLOCK_DOCUMENTS, len(documents)))
    for start in range(0, len(documents), BLOCK_DOCUMENTS):
        block = documents[start : start + BLOCK_DOCUMENTS]
        block = (block if prepare is None else prepare(block)).astype(np.float64)  # (b, d)
        now = min(k, filled + len(block))
        for first in range(0, len(queries), step):
            products = wide[first : first + step] @ block.T  # (step, b)
            np.round(products, TIE_DECIMALS, out=products)
            if not np.isfinite(products).all():
                row = first + int(np.argwhere(~np.isfinite(products))[0, 0])
                raise ValueError(f"query {row} has a score that is not a number: NaN or infinity in the vectors")
            for row, row_scores in enumerate(products, start=first):
                # What is below the worst of k that are known already cannot be among the best.
                near = np.flatnonzero(row_scores >= scores[row, k - 1])
                values = np.concatenate([scores[row, :filled], row_scores[near]])
                rows = np.concatenate([indices[row, :filled], start + near])
                threshold = np.partition(values, len(values) - now)[len(values) - now]
                best = np.flatnonzero(values >= threshold)  # as many as are kept or, with ties at the end, more
                best = best[np.lexsort((place[rows[best]], -values[best]))][:now]
                indices[row, :now], scores[row, :now] = rows[best], values[best]
        filled = now
    return TopK(indices, scores)
