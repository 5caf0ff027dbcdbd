"""BM25 (Lucene's variant, through bm25s): the baseline that any embedding model has to beat.

Plain on purpose, so that the row means the same everywhere: lower case, words of two or
more letters, digits or underscores (so `num_workers` is one word), the 33 English stop
words of Lucene, no stemming.
"""

from collections.abc import Sequence

import bm25s
import numpy as np
import numpy.typing as npt


class BM25:
    """An index over texts. k1 sets how soon a repeated word saturates, b how much long texts are held back."""

    def __init__(self, texts: Sequence[str], k1: float = 1.5, b: float = 0.75) -> None:
        """Indexes the texts.

        Raises:
            ValueError: no text holds a word that is not a stop word.
        """
        tokens = _tokenize(texts)
        if not any(tokens):
            raise ValueError(f"BM25: none of the {len(texts)} texts holds a word to index")
        self._index = bm25s.BM25(k1=k1, b=b, method="lucene")
        self._index.index(tokens, show_progress=False)
        self._size = len(texts)

    def scores(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        """Scores of all texts for each query, (queries, texts); 0 where no word is shared."""
        scores = np.zeros((len(queries), self._size), dtype=np.float32)
        for row, tokens in enumerate(_tokenize(queries)):
            known = self._index.get_tokens_ids(tokens)
            if known:
                scores[row] = self._index.get_scores(known)
        return scores


def _tokenize(texts: Sequence[str]) -> list[list[str]]:
    tokens: list[list[str]] = bm25s.tokenize(list(texts), stopwords="english", return_ids=False, show_progress=False)
    return tokens
