"""Late interaction: each query token looks for the document token most like it (MaxSim).

Khattab and Zaharia, "ColBERT", SIGIR 2020, section 3.3; Santhanam et al., "ColBERTv2", NAACL 2022.
score(query, document) = sum over query tokens i of w_i * max over document tokens j of cos(q_i, d_j),
with w_i = 1. A plain encoder, which never learned which tokens matter, may weigh words by how rare
they are in the corpus (IDF), as in "BERTScore" (Zhang et al., ICLR 2020, section 3).

Letters: T_q and T_d tokens of a query and a document, H dimensions of a token's vector.
"""

import math
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import chain
from typing import Any

import numpy as np

from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.ledger import Ledger
from stages.lib.reranking.pair_scores import HandedOn, PairScores, QueryDocument, pair_scores, through_ledger
from stages.lib.reranking.token_encoder import SPECIAL, TokenEncoder, TokenVectors
from stages.lib.weights.models import ModelEntry, locate_safetensors, weights_identity

BEST_DECIMALS = 7  # of a stored cosine


def best_matches(query: np.ndarray, document: np.ndarray) -> np.ndarray:
    """(T_q, H), (T_d, H) -> (T_q,) float64, the greatest cosine that each query token finds in the document.

    By einsum, which has no threads: those of BLAS wait for each other over a product as small as this, with another
    program on the cores for 50 times as long as it takes.
    """
    cosines = np.einsum("qh,dh->qd", query.astype(np.float64), document.astype(np.float64))  # (T_q, T_d)
    best: np.ndarray = cosines.max(axis=1)
    return best


def inverse_document_frequency(documents: Sequence[Sequence[int]]) -> tuple[dict[int, float], float]:
    """ln((N + 1) / (n_t + 1)) + 1 of each token t in n_t of N documents, and the value of a token in none.

    The smooth form, never below 1: a word that is in every chunk still has to be matched.
    """
    counts = Counter(token for tokens in documents for token in set(tokens))
    total = len(documents)
    weights = {token: math.log((total + 1) / (count + 1)) + 1.0 for token, count in counts.items()}
    return weights, math.log(total + 1) + 1.0


class LateInteractionReranker:
    """MaxSim over the token vectors of a ColBERT checkpoint, or of any encoder; weights load when a pair is missing."""

    def __init__(
        self, entry: ModelEntry, ledger: Ledger, idf_corpus: Sequence[str] | None, handed_on: HandedOn | None = None
    ) -> None:
        """`idf_corpus`: the texts whose word frequencies weigh the query's tokens; None: all weigh the same.

        Raises:
            ValueError: weights that are absent, not the pinned ones, or in a format that would be unpickled.
        """
        self.entry = entry
        self._ledger = ledger
        self._handed_on = handed_on
        self._directory = locate_safetensors(entry)
        self._encoder = TokenEncoder(entry, self._directory)
        self._weights: dict[int, float] = {}
        self._unseen = 1.0
        if idf_corpus is not None:
            self._weights, self._unseen = inverse_document_frequency(self._encoder.tokenize(idf_corpus))
        self._weighted = idf_corpus is not None
        self._queries: dict[str, TokenVectors] = {}

    def score(self, pairs: Sequence[QueryDocument], progress: str | None = None) -> PairScores:
        """Weighted MaxSim of each pair. What the ledger keeps is each query token's best cosine, so that
        another corpus, or no weights, computes nothing anew.
        """
        versions = self._encoder.identity
        code = code_identity(LateInteractionReranker._plan, LateInteractionReranker.compute, TokenEncoder)
        identity = ["late_interaction", weights_identity(self.entry), self.entry.max_length, *versions, code]
        answers = through_ledger(
            self._ledger,
            pairs,
            identity=identity,
            plan=self._plan,
            compute=self.compute,
            progress=progress,
            handed_on=self._handed_on,
        )
        return pair_scores(answers, lambda answer: self._sum(answer["tokens"], answer["best"]))

    def _sum(self, tokens: list[int], best: list[float]) -> float:
        """The sum of the best cosines; with weights, a word counts its IDF over the mean IDF of the query's words.

        So words share among themselves what they weigh without IDF, and what a ColBERT was
        trained to add to them ([MASK] expansion, markers) keeps its weight of 1.
        """
        if not self._weighted:
            return math.fsum(best)
        weights = [1.0 if token == SPECIAL else self._weights.get(token, self._unseen) for token in tokens]
        words = [weight for weight, token in zip(weights, tokens, strict=True) if token != SPECIAL]
        mean = math.fsum(words) / len(words) if words else 1.0
        return math.fsum(
            cosine * (1.0 if token == SPECIAL else weight / mean)
            for cosine, weight, token in zip(best, weights, tokens, strict=True)
        )

    def _plan(self, pairs: list[QueryDocument]) -> list[list[QueryDocument]]:
        """All pairs of a document together, in the encoder's batches of documents."""
        groups: dict[str, list[QueryDocument]] = {}
        for pair in sorted(pairs, key=lambda pair: (pair.document, pair.query)):
            groups.setdefault(pair.document, []).append(pair)
        documents = list(groups)
        return [[pair for i in batch for pair in groups[documents[i]]] for batch in self._encoder.plan(documents)]

    def compute(self, batches: list[list[QueryDocument]]) -> Generator[list[dict[str, Any]], None, None]:
        """Yields the answers to each batch, in order."""
        queries = sorted({pair.query for pair in chain(*batches)} - self._queries.keys())
        self._queries |= dict(zip(queries, self._encoder.encode(queries, "query"), strict=True))
        documents = [list(dict.fromkeys(pair.document for pair in batch)) for batch in batches]
        with closing(self._encoder.encode_batches(documents, "document")) as encoded:
            for batch, texts, vectors in zip(batches, documents, encoded, strict=True):
                known = dict(zip(texts, vectors, strict=True))
                yield [self._answer(pair, known[pair.document]) for pair in batch]

    def _answer(self, pair: QueryDocument, document: TokenVectors) -> dict[str, Any]:
        query = self._queries[pair.query]
        best = best_matches(query.vectors, document.vectors)
        if not np.isfinite(best).all():
            raise ValueError(f"{self.entry.source}: no finite token vectors for {pair.document[:80]!r}...")
        truncated = query.truncated or document.truncated
        return {"tokens": query.tokens, "best": best.round(BEST_DECIMALS).tolist(), "truncated": truncated}
