"""What counts as a refusal and as a correction."""

import pytest

from stages.lib.evaluation.reply_kinds import corrects, declines
from stages.lib.reply_acts.correcting import denies

DEFAULT = {"kind": "false_premise", "change": {"type": "default", "true": "5", "false": "7"}}
NEGATION = {"kind": "false_premise", "change": {"type": "negation", "true": "is", "false": "is not"}}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("No. The parameter n does not default to 7, but to 5.", True),
        ("The question takes for granted what is not so. The text says 5, not 7.", True),
        ("That is incorrect: the default is 5.", True),
        ("No, it does not default to 7.", False),  # does not name the right value
        ("The parameter n defaults to 7 because 5 is too small.", False),  # no denial
        ("It defaults to 7.", False),
    ],
)
def test_corrections_of_values(reply: str, expected: bool) -> None:
    assert corrects(DEFAULT, reply) is expected


def test_corrections_of_negations() -> None:
    assert corrects(NEGATION, "It is the other way round.")
    assert corrects(NEGATION, 'That is not what the text says. "The class is instantiated."')
    assert not corrects(NEGATION, "The class is not instantiated because the type is absent.")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("The text does not say which parameter it is.", True),
        ("This cannot be answered from the text: it does not say what it does.", True),
        ("The provided text does not mention the default value.", True),
        ("No information about this is given.", True),
        ("It returns a tensor.", False),
        ("The text does not say which it is, but it names another one.", True),
        ("", False),
    ],
)
def test_refusals(reply: str, expected: bool) -> None:
    assert declines({"kind": "unanswerable"}, reply) is expected


def test_a_correction_is_no_refusal() -> None:
    assert not declines(DEFAULT, "The text does not say 7 there, but 5.")
    assert declines(DEFAULT, "The text does not say why.")


def test_plain_answers_deny_nothing() -> None:
    assert not denies("The parameter scaler specifies the scaler to use in the step function.")
    assert not denies("Note that no mention of it is needed.")
