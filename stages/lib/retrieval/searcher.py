"""Search over the passages of some documents, by the system that was chosen."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, assert_never

import numpy as np
import numpy.typing as npt

from stages.lib.passages.passages import Passage, readable
from stages.lib.reranking.token_encoder import TokenEncoder
from stages.lib.retrieval.systems import System
from stages.lib.retrieval.vectors import PassageVectors
from stages.lib.search.bm25 import BM25
from stages.lib.search.fusion import reciprocal_rank_fusion

Scores = npt.NDArray[np.float64]  # (N,) one number per passage


class Hit(NamedTuple):
    """A passage that was found."""

    passage: Passage
    score: float  # by the system; comparable within one search alone


class Searcher:
    """An index over N passages; what a system does not need is not asked for."""

    def __init__(
        self,
        passages: Sequence[Passage],
        system: System,
        *,
        k1: float,
        b: float,
        rrf_k: int,
        vectors: Callable[[], Sequence[PassageVectors]],
        dense: Callable[[Sequence[str]], npt.NDArray[np.float32]],
        query: Callable[[str], npt.NDArray[np.float32]],
        tokens: TokenEncoder,
    ) -> None:
        """Indexes the passages.

        Args:
            passages: N of them.
            system: how to search.
            k1: word saturation of BM25.
            b: length normalisation of BM25, 0..1.
            rrf_k: constant of reciprocal rank fusion.
            vectors: token vectors of the passages, document by document, in their order.
            dense: texts -> (n, H) vectors of length 1.
            query: a question -> (H,) vector of length 1.
            tokens: what encodes a question's tokens.
        """
        self.passages, self.system = list(passages), system
        self._rrf_k, self._query, self._tokens = rrf_k, query, tokens
        texts = [readable(passage.text) for passage in passages]
        self._bm25 = _sparse(texts, k1, b) if system in ("bm25", "fused") else None
        self._dense = dense(texts) if system in ("dense", "fused") else None
        self._parts = list(vectors()) if system in ("late_interaction", "mean_pooled", "fused") else []

    def search(self, question: str, k: int, documents: Sequence[str] | None = None) -> list[Hit]:
        """The best k passages, best first; `documents`: sha256 of those that may be in it, None: all."""
        scores = self._scores(question)
        allowed = [
            i for i, passage in enumerate(self.passages) if documents is None or passage.document.sha256 in documents
        ]
        best = sorted(allowed, key=lambda i: (-scores[i], i))[:k]
        return [Hit(self.passages[i], float(scores[i])) for i in best]

    def _scores(self, question: str) -> Scores:
        match self.system:
            case "bm25":
                return self._sparse_scores(question)
            case "dense":
                return self._dense_scores(question)
            case "late_interaction":
                return self._max_sim(question)
            case "mean_pooled":
                return self._mean_pooled(question)
            case "fused":
                each = [self._sparse_scores(question), self._dense_scores(question), self._max_sim(question)]
                # A passage without any word of the question has no place in BM25's ranking.
                rankings = [np.argsort(-one, kind="stable") for one in each]
                rankings[0] = rankings[0][: int((each[0] > 0).sum())]
                return reciprocal_rank_fusion(rankings, len(self.passages), self._rrf_k)
            case _:
                assert_never(self.system)

    def _sparse_scores(self, question: str) -> Scores:
        if self._bm25 is None:
            return np.zeros(len(self.passages))
        scores: Scores = self._bm25.scores([question])[0].astype(np.float64)
        return scores

    def _dense_scores(self, question: str) -> Scores:
        assert self._dense is not None
        scores: Scores = self._dense.astype(np.float64) @ self._query(question).astype(np.float64)
        return scores

    def _max_sim(self, question: str) -> Scores:
        query = self._tokens.encode([question], "query")[0].vectors
        scores = []
        for part in self._parts:
            products = part.vectors.astype(np.float32) @ query.T  # (T, T_q)
            if len(products):
                scores.append(np.maximum.reduceat(products, part.starts[:-1], axis=0).sum(axis=1))
        joined: Scores = np.concatenate(scores).astype(np.float64)
        return joined

    def _mean_pooled(self, question: str) -> Scores:
        query = self._tokens.encode([question], "query")[0].vectors.mean(axis=0, dtype=np.float64)
        means = np.concatenate([part.mean() for part in self._parts]).astype(np.float64)
        scores: Scores = means @ (query / np.linalg.norm(query))
        return scores


def _sparse(texts: Sequence[str], k1: float, b: float) -> BM25 | None:
    try:
        return BM25(texts, k1=k1, b=b)
    except ValueError:  # not one word in them
        return None
