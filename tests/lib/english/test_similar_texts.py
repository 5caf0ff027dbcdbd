import random

import pytest

from stages.lib.english.similar_texts import shingles, similar_pairs
from stages.lib.english.words import normalised

WORDS = [f"word{i}" for i in range(18)]


@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.8, 1.0])
def test_similar_pairs_are_exactly_those_of_brute_force(similarity: float) -> None:
    rng = random.Random(0)
    base = rng.choices(WORDS, k=40)
    joined = []
    for _ in range(60):  # copies of one text with some words changed, cut at both ends
        words = [rng.choice(WORDS) if rng.random() < rng.choice([0, 0.02, 0.1]) else word for word in base]
        joined.append(" ".join(words[rng.randrange(8) : 40 - rng.randrange(8)] if rng.random() < 0.5 else words))
    joined += ["", "alone", "alone"]
    sets = [shingles(text) for text in joined]
    expected = [
        (i, j)
        for j in range(len(sets))
        for i in range(j)
        if sets[i] and sets[j] and len(sets[i] & sets[j]) >= similarity * len(sets[i] | sets[j])
    ]
    assert len(expected) > 0
    assert sorted(similar_pairs(joined, similarity)) == sorted(expected)


def test_shingles_ignore_case_and_punctuation() -> None:
    assert shingles("A b, c: d e! F") == {"a b c d e", "b c d e f"}
    assert shingles("Too short.") == {normalised("too short")}
    assert shingles(" ... ") == set()


def test_one_text_and_none() -> None:
    assert similar_pairs([], 0.5) == similar_pairs(["a text alone"], 0.5) == similar_pairs(["", ""], 0.5) == []


def test_what_many_texts_begin_with_is_no_likeness() -> None:
    texts = [f"Returns the value of the parameter {i} as it was {i} and stands {i} here" for i in range(50)]
    assert similar_pairs([*texts, texts[7].upper()], 0.9) == [(7, 50)]
