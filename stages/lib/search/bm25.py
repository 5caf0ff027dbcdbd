"""BM25 (Lucene's variant, through bm25s): the baseline that any embedding model has to beat.

Plain on purpose, so that the row means the same everywhere: lower case, the 33 English stop words of Lucene and
"I", no stemming. Words are runs of letters, digits and underscores (so `num_workers` is one word), single letters too
(LoRA's `r`); `C++`, `C#` and `.NET` keep their signs; scripts without blanks between words are cut by ICU.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import bm25s
import numpy as np
import numpy.typing as npt
from bm25s.stopwords import STOPWORDS_EN

from stages.lib.languages.words import LETTER, one_form, segments

_STOPPED = frozenset((*STOPWORDS_EN, "i"))  # single letters count, but for the pronoun: "How should I ...?"
_POSSESSIVE = re.compile(r"(?<=\w)['’](?:s|t|d|m|re|ve|ll)\b")  # what is cut off: "peft's", "don't"
_WORD = re.compile(
    rf"(?<!\w)(?:[a-z]{{1,2}}\+\+|[a-z]\#)(?!\w)|(?:(?<!\S)|(?<=[(\"'`]))\.[a-z]\w+(?![\w/.])|_*{LETTER}(?:{LETTER}|_)*"
)


class BM25:
    """An index over texts. k1 sets how soon a repeated word saturates, b how much long texts are held back."""

    def __init__(self, texts: Sequence[str], k1: float = 1.5, b: float = 0.75) -> None:
        """Indexes the texts.

        Raises:
            ValueError: no text holds a word that is not a stop word.
        """
        vocabulary: dict[str, int] = {}
        # A text's words as numbers at once: the words themselves take ten times the room of the texts.
        numbers = [[vocabulary.setdefault(word, len(vocabulary)) for word in words(text)] for text in texts]
        if not vocabulary:
            raise ValueError(f"BM25: none of the {len(texts)} texts holds a word to index")
        self._index = bm25s.BM25(k1=k1, b=b, method="lucene")
        self._index.index((numbers, vocabulary), show_progress=False)
        self._size = len(texts)

    def scores(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        """Scores of all texts for each query, (queries, texts); 0 where no word is shared."""
        scores = np.zeros((len(queries), self._size), dtype=np.float32)
        for row, found in enumerate(self.each_scores(queries)):
            scores[row] = found
        return scores

    def each_scores(self, queries: Iterable[str]) -> Iterator[npt.NDArray[np.float32]]:
        """Yields the scores of all texts, (texts,), for one query after the other."""
        for query in queries:
            known = self._index.get_tokens_ids(words(query))
            yield self._index.get_scores(known) if known else np.zeros(self._size, dtype=np.float32)


def tokenize(texts: Sequence[str]) -> list[list[str]]:
    """The `words` of each text."""
    return [words(text) for text in texts]


def words(text: str) -> list[str]:
    """The words of a text, in their order, without stop words."""
    return [
        word
        for run in _WORD.findall(_POSSESSIVE.sub(" ", one_form(text)))
        for word in segments(run)
        if word not in _STOPPED
    ]
