"""A classifier that sees questions alone finds what gives them away, and nothing where nothing does."""

import os
import random
from pathlib import Path

import pytest

from stages.lib.chats.give_away import give_away, linked, warnings
from stages.lib.chats.qa_items import QAItem

THINGS = "cache rank layer token batch probe lens gene tumour nurse user query page bridge river engine".split()


def asked(question: str, source: str, pair: str = "") -> QAItem:
    return QAItem(
        id=question, kind="rated", source=source, context="c", question=question, answer="a", made_by="x", pair=pair
    )


def questions(form: str, seed: int, count: int = 60) -> list[QAItem]:
    """Questions of random words in a form with {thing}, {other} and {number}, each from a document of its own."""
    draw = random.Random(seed)
    return [
        asked(
            form.format(thing=draw.choice(THINGS), other=draw.choice(THINGS), number=draw.randint(11, 99)),
            f"{seed}-{i}",
        )
        for i in range(count)
    ]


FORM = "Where does the text say that the {thing} has {number} parts in the {other}?"


def test_nothing_is_found_where_the_kinds_are_alike() -> None:
    found = give_away(questions(FORM, 1), questions(FORM, 2))
    assert (found["false"], found["true"]) == (60, 60)
    assert found["low"] < 0.5 < found["high"]
    assert warnings(found) == []


@pytest.mark.parametrize(
    "other",
    [
        "Why is it that the {thing} has {number} parts in the {other}?",  # the opening
        "Where does the text say that the {thing} has not {number} parts in the {other}?",
        "Where does the text say that the {thing} has {number}0 parts in the {other}?",
        "Where does the text say that the {thing} has {number},5 parts in the {other}?",
    ],
)
def test_a_form_that_gives_away_is_found_and_said(other: str) -> None:
    found = give_away(questions(other, 1), questions(FORM, 2))
    assert found["auc"] > 0.9 and found["accuracy"] > 0.9
    (said,) = warnings(found)
    assert "told from true ones by their questions alone" in said and f"{found['auc']:.2f}" in said


def test_a_document_is_not_known_from_its_other_questions() -> None:
    false = [asked(one.question, f"d{i % 25}") for i, one in enumerate(questions(FORM, 1))]
    assert give_away(false, false)["auc"] == 0.5


def test_a_pair_and_a_document_are_one_group() -> None:
    items = [asked("q", "a", "1"), asked("q", "b", "1"), asked("q", "b", "2"), asked("q", "c", "2"), asked("q", "d")]
    groups = linked(items)
    assert len(set(groups[:4])) == 1 and groups[4] not in groups[:4]


def test_too_few_is_said_and_uneven_is_warned_of() -> None:
    found = give_away(questions(FORM, 1, 124), [])
    assert found == {"false": 124, "true": 0, "auc": None, "why": "fewer than 20 of a kind"}
    (said,) = warnings(found)
    assert "124 questions with a false premise and 0 with a true one" in said
    assert warnings(give_away(questions(FORM, 1, 5), questions(FORM, 2, 5))) == []
    alone = [asked(one.question, "d") for one in questions(FORM, 1)]
    assert give_away(alone, alone)["why"] == "fewer than 20 documents"


@pytest.mark.skipif("LLMILL_REAL_DATA" not in os.environ, reason="LLMILL_REAL_DATA is not set")
def test_premises_on_abstracts_do_not_give_themselves_away() -> None:
    from bench.give_away import main

    rows = main(Path(os.environ["LLMILL_REAL_DATA"]), 0.15, 0).splitlines()
    row = next(line for line in rows if line.startswith("| PubMedQA")).split("|")
    assert row[3].strip() == row[4].strip() == "150"
    assert float(row[5].split()[0]) < 0.56
    assert not any(line.startswith("warning") for line in rows)
