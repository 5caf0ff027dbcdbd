"""Exact top-k by dot product: every document is looked at, in float64, with ties in the order of the ids.

Letters: q queries, n documents, d dimensions, k results a query.
"""

from collections.abc import Sequence
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


def exact_top_k(queries: np.ndarray, documents: np.ndarray, k: int, ids: Sequence[str]) -> TopK:
    """The k documents with the greatest dot product for each query; equal scores go by id, lowest first.

    Args:
        queries: (q, d) floats.
        documents: (n, d) floats.
        k: results a query; the whole corpus where it has fewer.
        ids: n distinct names of the documents, which decide ties.

    Raises:
        ValueError: shapes that do not go together, repeated ids, k < 1, or a vector with NaN or infinity.
    """
    if queries.ndim != 2 or documents.ndim != 2 or queries.shape[1] != documents.shape[1]:
        raise ValueError(f"queries {queries.shape} and documents {documents.shape} do not go together")
    if len(ids) != len(documents) or len(set(ids)) != len(ids):
        raise ValueError(f"{len(documents)} documents need as many distinct ids, found {len(set(ids))} of {len(ids)}")
    if k < 1 or not len(documents):
        raise ValueError(f"no top {k} of {len(documents)} documents")
    k = min(k, len(documents))
    order = np.argsort(np.array(ids))  # (n,) documents by id
    place = np.empty(len(ids), dtype=np.int64)  # (n,) each document's place in that order
    place[order] = np.arange(len(ids))

    indices = np.empty((len(queries), k), dtype=np.int64)
    scores = np.empty((len(queries), k))
    step = max(1, BLOCK_SCORES // len(documents))
    for start in range(0, len(queries), step):
        block = _dot_products(queries[start : start + step], documents)  # (step, n)
        if not np.isfinite(block).all():
            row = start + int(np.argwhere(~np.isfinite(block))[0, 0])
            raise ValueError(f"query {row} has a score that is not a number: NaN or infinity in the vectors")
        for row, row_scores in enumerate(block, start=start):
            threshold = np.partition(row_scores, len(row_scores) - k)[len(row_scores) - k]
            best = np.flatnonzero(row_scores >= threshold)  # k or, with ties at the end, more
            best = best[np.lexsort((place[best], -row_scores[best]))][:k]
            indices[row], scores[row] = best, row_scores[best]
    return TopK(indices, scores)


def _dot_products(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """(q, d) x (n, d) -> (q, n) in float64, rounded; documents are widened a block at a time."""
    wide = queries.astype(np.float64)
    products = np.empty((len(queries), len(documents)))
    for start in range(0, len(documents), BLOCK_DOCUMENTS):
        block = documents[start : start + BLOCK_DOCUMENTS].astype(np.float64)
        products[:, start : start + BLOCK_DOCUMENTS] = wide @ block.T
    return np.round(products, TIE_DECIMALS)
