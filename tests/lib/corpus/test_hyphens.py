"""Hyphens at line ends: of the word, or of the line break."""

import pytest

from stages.lib.corpus.hyphens import Words

TEXT = (
    "We train the model with self-supervised learning and evaluate the ArenaHard benchmark, fine-tuned and pretrained"
)
WORDS = Words([TEXT.split(), "the step-size of step-size and preprocessing the re-use of".split()])
NONE = Words([["the"]])
GERMAN = Words(["der Hund und die Katze".split()])


@pytest.mark.parametrize(
    ("words", "left", "right", "whole"),
    [
        (NONE, "exam-", "ple,", "example,"),
        (NONE, "(adip-", "iscing", "(adipiscing"),
        (NONE, "exam\u2010", "ple", "example"),
        (NONE, "exam\u00ad", "ple", "example"),
        (NONE, "DeepSeek-", "R1", "DeepSeek-R1"),
        (NONE, "Chain-of-", "Thought", "Chain-of-Thought"),
        (NONE, "state-of-the-", "art", "state-of-the-art"),
        (NONE, "c'est-à-", "dire", "c'est-à-dire"),
        (NONE, "open-", "source", "open-source"),
        (NONE, "Qwen2.5-", "32B", "Qwen2.5-32B"),
        (NONE, "10-", "fold", "10-fold"),
        (NONE, "https://a.org/deep-", "learning", "https://a.org/deep-learning"),
        (NONE, "self-", "attention", "self-attention"),
        (NONE, "under-", "stand", "understand"),
        (NONE, "train-", "ing", "training"),
        (NONE, "state-", "ment", "statement"),
        (WORDS, "Are-", "naHard,", "ArenaHard,"),
        (WORDS, "pre-", "processing", "preprocessing"),
        (WORDS, "step-", "size", "step-size"),
        (WORDS, "pre-", "trained", "pretrained"),
        (WORDS, "instruction-", "tuned", "instruction-tuned"),
        (WORDS, "re-", "use", "re-use"),
        (GERMAN, "Test-", "system", "Testsystem"),
        (GERMAN, "Eisenbahn-", "gesellschaft", "Eisenbahngesellschaft"),
        (GERMAN, "größ-", "ten", "größten"),
        (GERMAN, "Baden-", "Württemberg", "Baden-Württemberg"),
        (NONE, "пере-", "нос", "перенос"),
    ],
)
def test_the_word_is_as_it_would_stand_within_a_line(words: Words, left: str, right: str, whole: str) -> None:
    joint = words.joint(left, right)
    assert joint is not None
    assert left[:-1] + joint + right == whole


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("pre-", "and"),  # pre- and post-training
        ("Ein-", "und"),
        ("end.", "Next"),
        ("-", "item"),
        ("--", "word"),
        ("word–", "word"),
        ("(x)-", "axis"),
        ("well-", "(known"),
    ],
)
def test_a_line_end_is_a_blank_where_no_word_goes_on(left: str, right: str) -> None:
    assert NONE.joint(left, right) is None


def test_over_a_paragraphs_end_only_known_words_go_on() -> None:
    assert WORDS.joint("under-", "stand", apart=True) == ""
    assert WORDS.joint("step-", "size", apart=True) == "-"
    assert WORDS.joint("adip-", "iscing", apart=True) is None
    assert WORDS.joint("improve-", "Figure", apart=True) is None


def test_broken_words_are_no_evidence() -> None:
    words = Words([["the", "simul-"], ["taneous", "the"]] * 3)
    assert words.joint("simul-", "taneous") == ""
    assert Words([["the", "x-"], ["ab-cd", "the"]] * 3).joint("ab-", "cd") == ""
