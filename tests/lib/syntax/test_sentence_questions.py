"""Sentences in their text: what sends a reader elsewhere, names by their capitals, definitions that define nothing."""

import pytest

from stages.lib.english.facts import prose_sentences
from stages.lib.syntax.sentence_questions import questions_of


def asked(text: str) -> list[str]:
    """The questions on a text's sentences."""
    (found,) = questions_of([list(prose_sentences(text))])
    return [one.text for sentence in found for one in sentence.asked]


@pytest.mark.parametrize(
    "sentence",
    [
        "If you are unfamiliar with virtual environments, take a look at this guide.",
        "To see how a proposed project looks like, please have a look at submitted project proposals here.",
        "To set up a development environment, run the following command in a terminal.",
        "To better understand the hiring process, let’s consider an example case.",
        "`citation` is a BibTeX citation of the dataset.",
    ],
)
def test_a_sentence_that_holds_no_answer_is_not_asked(sentence: str) -> None:
    assert asked(sentence) == []


def test_a_name_keeps_its_capital_where_a_sentence_begins_with_it() -> None:
    text = (
        "Freud believed that the id operates on the pleasure principle. The ideas of Freud were later changed by his "
        "students. Sleep reduces the number of errors in tests of memory, as sleep is needed for it."
    )
    found = asked(text)
    assert "What did Freud believe" in found, found
    assert "Who believed that the id operates on the pleasure principle" in found, found
    assert "Why does sleep reduce the number of errors in tests of memory" in found, found
