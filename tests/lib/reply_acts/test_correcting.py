"""Corrections: the right value stated, the wrong one rejected."""

from pathlib import Path

import pytest
import yaml

from stages.lib.reply_acts.correcting import corrects_polarity, corrects_value
from stages.lib.reply_acts.stated_values import stated_values

LATER = yaml.safe_load(Path("bench/replies.yaml").read_text(encoding="utf-8"))
QUESTION = "What is the parameter r of peft's LoraConfig, which defaults to 16, for?"


@pytest.mark.parametrize(
    "reply",
    [
        "Actually, the default is 8.",
        "The default is 8, not 16.",
        "The default isn't 16; it is 8.",
        "The default isn’t 16; it’s 8.",
        "There is a misunderstanding: it defaults to 8.",
        "It does not default to 16. It defaults to 8.",
        "r does not default to sixteen but to eight.",
        "The question assumes 16, but the documentation gives 8.",
        "Why 16? The default is 8.",
        "16 is wrong; the text says 8.",
        "THE DEFAULT IS 8, NOT 16.",
        "The default is 8.",
        "16 does not hold, 8 does.",
        "Der Standardwert ist nicht 16, sondern 8.",
        "No es 16, sino 8.",
        "默认值不是 16，而是 8。",
    ],
)
def test_corrections(reply: str) -> None:
    assert corrects_value(QUESTION, reply, "8", "16")


@pytest.mark.parametrize(
    "reply",
    [
        "No, it is 16, not 8.",
        "The default is not 8 but 16.",
        "Yes. It is 16.",
        "No, it does not default to 16.",
        "8 is wrong, it is 16.",
        "It is 16 rather than 8.",
        "Because 8 heads are used, r sets the rank of the update.",
        "The parameter r sets the rank, with a default of 16 and a maximum of 8.",
        "It sets the rank.",
        "No, it is 0.8 or 18.",
        "No es 8, sino 16.",
        "",
    ],
)
def test_what_corrects_nothing(reply: str) -> None:
    assert not corrects_value(QUESTION, reply, "8", "16")


@pytest.mark.parametrize(
    ("reply", "true", "false"),
    [
        ("There were 1500 patients, not 3,000.", "1,500", "3000"),
        ("It uses cosine with restarts, not cosine.", "cosine with restarts", "cosine"),
        ("The rate is .1 instead of 0.5.", "0.1", "0.5"),
        ("It is `use_cache`, not `use_fast`.", "use_cache", "use_fast"),
        ("The default is None, not -1.", "None", "-1"),
    ],
)
def test_names_words_and_numbers(reply: str, true: str, false: str) -> None:
    assert corrects_value("Why?", reply, true, false)
    assert not corrects_value("Why?", reply, false, true)


def test_places_of_what_is_stated_and_rejected() -> None:
    right, wrong = stated_values("Not 16 but 8.", ("8", "16"))
    assert right.states is not None and right.rejects is None
    assert wrong.rejects is not None and wrong.states is None
    assert stated_values("Is it 8?", ("8", "16")) == ((None, None), (None, None))


NOT_MADE = "Why is it that the class is not instantiated?"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("It is the other way round.", True),
        ("The class is instantiated.", True),
        ("Actually, it is.", True),
        ("It is not true that the class is not instantiated.", True),
        ("That's wrong.", True),
        ("The class is not instantiated because the type is absent.", False),
        ("No, the class is not instantiated.", False),
        ("Yes, the class is not instantiated.", False),
        ("Because the type is absent.", False),
        ("The text does not say.", False),
    ],
)
def test_premises_that_are_wrong_by_a_not(reply: str, expected: bool) -> None:
    assert corrects_polarity(NOT_MADE, reply, "is not") is expected


def test_premises_that_leave_out_a_not() -> None:
    question = "Why is it that the model can be trained on a CPU?"
    assert corrects_polarity(question, "The model cannot be trained on a CPU.", "can")
    assert corrects_polarity(question, "It can't.", "can")
    assert not corrects_polarity(question, "It can be trained on a CPU as it is small.", "can")


def test_replies_written_later_are_read() -> None:
    for key, expected in (("corrects", True), ("corrects_not", False)):
        right = sum(corrects_value(q, text, true, false) is expected for q, true, false, text in LATER[key])
        assert right >= 0.95 * len(LATER[key])
