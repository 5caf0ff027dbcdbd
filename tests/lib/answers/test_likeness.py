"""Word overlap, by hand and against the reference implementation."""

import random

import pytest

from stages.lib.answers.likeness import rouge_l, squad_words, token_f1


def test_squad_normalization() -> None:
    assert squad_words("The  Answer, is: a 'cat'!") == ["answer", "is", "cat"]
    assert squad_words("theory of an anthem") == ["theory", "of", "anthem"]


def test_token_f1_by_hand() -> None:
    assert token_f1("the cat sat", "A cat.") == pytest.approx(2 * 1 / (2 + 1))
    assert token_f1("cat cat cat", "cat dog") == pytest.approx(2 * 1 / (3 + 2))  # a word counts as often as it occurs
    assert token_f1("cat cat dog", "cat cat") == pytest.approx(2 * 2 / (3 + 2))  # in both texts
    assert token_f1("Paris", "paris!") == 1.0
    assert token_f1("", "") == 1.0
    assert token_f1("", "word") == token_f1("word", "the") == 0.0


def test_rouge_l_by_hand() -> None:
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(0.75)
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(0.5)
    assert rouge_l("", "word") == rouge_l("word", "") == rouge_l("", "") == 0.0


def test_rouge_l_is_that_of_the_package() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"], use_stemmer=False)
    draw = random.Random(0)
    words = ["The", "cat", "sat,", "on", "p5-mat", "naïve", "x_y", "...", "ÄÖ", "\n"]
    for length in (0, 1, 2, 5, 40, 130):
        for _ in range(20):
            said, wanted = (" ".join(draw.choices(words, k=draw.randint(0, length))) for _ in range(2))
            assert rouge_l(said, wanted) == pytest.approx(scorer.score(wanted, said)["rougeL"].fmeasure)
