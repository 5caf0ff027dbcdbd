"""BM25 against its formula, and what words are."""

import math

import numpy as np
import pytest

from stages.lib.search.bm25 import BM25


def test_scores_equal_lucenes_formula() -> None:
    texts = ["cats purr purr", "dogs bark", "cats chase dogs daily daily daily"]
    words = [text.split() for text in texts]
    average = sum(map(len, words)) / 3
    k1, b = 1.2, 0.6

    def expected(query: list[str], document: list[str]) -> float:
        total = 0.0
        for word in query:
            holders = sum(word in other for other in words)
            idf = math.log(1 + (3 - holders + 0.5) / (holders + 0.5))
            count = document.count(word)
            total += idf * count / (count + k1 * (1 - b + b * len(document) / average))
        return total

    found = BM25(texts, k1=k1, b=b).scores(["Purr, cats!", "daily dogs"])
    assert found.shape == (2, 3)
    for row, query in enumerate([["purr", "cats"], ["daily", "dogs"]]):
        assert found[row] == pytest.approx([expected(query, document) for document in words], rel=1e-5)


def test_unknown_words_stop_words_and_empty_queries_score_zero() -> None:
    index = BM25(["the num_workers of a loader", ""])
    scores = index.scores(["zebra", "the of a", "", "NUM_WORKERS zebra"])
    assert np.array_equal(scores[:3], np.zeros((3, 2)))
    assert scores[3, 0] > 0
    assert scores[3, 1] == 0
    assert index.scores([]).shape == (0, 2)


def test_nothing_to_index_is_an_error() -> None:
    with pytest.raises(ValueError, match="none of the 2 texts holds a word"):
        BM25(["the", ""])
