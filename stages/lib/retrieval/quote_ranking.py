"""The sentences that answer a question best, by late interaction alone: quoted as they stand.

A sentence's score is its weighted MaxSim with the question plus that of the best passage that it stands in, each
brought to one scale over the candidates (a sentence by itself may leave out what the text around it is about). Words
of the question weigh by how rare they are among the passages; function words weigh nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stages.lib.english.words import is_function_word
from stages.lib.passages.passages import Passage, Quote, quotes, readable
from stages.lib.reranking.late_interaction import best_matches, inverse_document_frequency
from stages.lib.reranking.token_encoder import SPECIAL, TokenEncoder, TokenVectors
from stages.lib.search.fusion import z_scores

MOST_KNOWN = 2000  # encoded texts kept; about 100 MB at 384 dimensions
MIN_CHARS = 20  # of a sentence that can answer: headings, numbers of a figure and page numbers are shorter


class RankedQuote(NamedTuple):
    """A sentence and how well it fits."""

    quote: Quote
    score: float  # comparable within one question alone
    similarity: float  # weighted MaxSim of sentence and question per word, about 0..1


class Relevance(NamedTuple):
    """How near the documents come to a question; each about 0..1, comparable between questions."""

    passage: float  # the greatest weighted MaxSim of a passage with the question
    weakest_word: float  # in the passage where it is greatest: the best match of the question's worst matched word
    sentence: float  # the greatest weighted MaxSim of a sentence


class QuoteRanker:
    """Ranks the sentences of passages for questions; word weights come from the passages that are searched."""

    def __init__(self, encoder: TokenEncoder, corpus: Sequence[str]) -> None:
        """`corpus`: the texts of all passages."""
        self._encoder = encoder
        encoded = encoder.tokenize(corpus)
        self._weights, self._unseen = inverse_document_frequency(encoded)
        self._known: dict[str, TokenVectors] = {}  # texts encoded before: passages and sentences come again

    def rank(self, question: str, passages: Sequence[Passage]) -> tuple[list[RankedQuote], Relevance]:
        """The sentences of the passages, best first, and how relevant the passages are.

        Returns no sentences for no passages.
        """
        query = self._encoder.encode([question], "query")[0]
        weights = self._query_weights(query.tokens)
        places: dict[tuple[str, int, int, int], tuple[Quote, int]] = {}
        for number, passage in enumerate(passages):
            for quote in quotes(passage):
                if len(readable(quote.text)) >= MIN_CHARS:
                    places.setdefault((quote.document.sha256, *quote.span), (quote, number))
        if not places:
            return [], Relevance(0.0, 0.0, 0.0)
        of_passages = self._similarities(query, weights, [readable(passage.text) for passage in passages])
        of_quotes = self._similarities(query, weights, [readable(quote.text) for quote, _ in places.values()])
        around = np.array([of_passages[number, 0] for _, number in places.values()])
        scores = z_scores(of_quotes[:, 0]) + z_scores(around)
        order = np.argsort(-scores, kind="stable")
        candidates = [quote for quote, _ in places.values()]
        ranked = [RankedQuote(candidates[i], float(scores[i]), float(of_quotes[i, 0])) for i in order]
        best = int(np.argmax(of_passages[:, 0]))
        relevance = Relevance(float(of_passages[best, 0]), float(of_passages[best, 1]), float(of_quotes[:, 0].max()))
        return ranked, relevance

    def _query_weights(self, tokens: Sequence[int]) -> npt.NDArray[np.float64]:
        words = [token != SPECIAL for token in tokens]
        content = [word and self._is_content(token) for word, token in zip(words, tokens, strict=True)]
        chosen = content if any(content) else words if any(words) else [True] * len(tokens)
        weights = [
            self._weights.get(token, self._unseen) if use else 0.0 for token, use in zip(tokens, chosen, strict=True)
        ]
        return np.array(weights)

    def _is_content(self, token: int) -> bool:
        text = self._encoder.word(token).lower()
        return any(character.isalnum() for character in text) and not is_function_word(text)

    def _similarities(
        self, query: TokenVectors, weights: npt.NDArray[np.float64], texts: Sequence[str]
    ) -> npt.NDArray[np.float64]:
        """(n, 2): the weighted mean of the best cosines of the question's words, and the least of them."""
        if len(self._known) > MOST_KNOWN:
            self._known = {}
        known = self._known  # another thread may begin a new one meanwhile
        missing = sorted({text for text in texts if text not in known})
        for text, vectors in zip(missing, self._encoder.encode(missing, "document"), strict=True):
            known[text] = vectors
        rows = []
        for text in texts:
            best = best_matches(query.vectors, known[text].vectors)
            rows.append((float((weights * best).sum() / weights.sum()), float(best[weights > 0].min())))
        return np.array(rows)
