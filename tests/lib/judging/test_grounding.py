from dataclasses import replace

import pytest

from stages.lib.judging.grounding import chunk_pieces, groundedness, grounding
from stages.lib.judging.validity import JudgedItem

CHUNK = (
    "The red lamp of the harbour burns 12 litres of oil in a night. Jonas Lind built its mast in 1887. "
    "The blue lamp was put out when the railway came, and 40 workers left the town."
)
ITEM = JudgedItem(
    question="How much oil does the red lamp burn?",
    answer="The red lamp of the harbour burns 12 litres of oil in a night.",
    context=CHUNK,
    document="d",
)
SHORT = replace(ITEM, answer="12 litres")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (ITEM.answer, "Jonas Lind built its mast in 1887."),  # another sentence
        (ITEM.answer, "The red lamp of the harbour burns 40 litres of oil in a night."),  # another number
        (ITEM.answer, "The red lamp of the harbour burns 12 litres of Jonas in a night."),  # another name
        (ITEM.answer, "The moon is made of cheese."),  # nothing of the chunk
        ("12 litres", "1887"),  # a number of another sentence
        ("12 litres", "Jonas Lind"),  # no number
        ("12 litres", "The blue lamp was put out when the railway came, and 40 workers left the town."),
        ("12 litres", "oil"),  # the question's own word
        ("12 litres", "13 litres"),
    ],
)
def test_a_right_answer_is_above_a_wrong_one(right: str, wrong: str) -> None:
    assert groundedness(replace(ITEM, answer=right)) > groundedness(replace(ITEM, answer=wrong))


def test_the_parts() -> None:
    parts = grounding(ITEM)
    assert parts.held == 1.0 and 0.5 < parts.place <= 1.0
    assert parts.near == 0.0 and parts.form == 0.0  # a whole sentence has no place within itself
    assert grounding(SHORT).near > 0.5 and grounding(SHORT).form == 1.0
    assert grounding(replace(SHORT, answer="13 litres")).held < 0.5


def test_names_and_numbers_of_another_chunk_are_not_held() -> None:
    assert grounding(replace(ITEM, context="The blue lamp was put out. Nobody burns oil now.")).held <= 0


def test_an_answer_of_two_sentences_is_held() -> None:
    both = "The red lamp of the harbour burns 12 litres of oil in a night. Jonas Lind built its mast in 1887."
    assert grounding(replace(ITEM, answer=both)).held > 0.98


def test_what_is_told_before_the_chunk_is_no_statement_of_it() -> None:
    told = "Source: how much oil the red lamp burns.md\n\n"
    assert grounding(replace(ITEM, context=told + CHUNK, told=told)) == grounding(ITEM)


def test_a_parameter_is_found_by_the_head_of_its_entry() -> None:
    text = (
        "Args:\n    rank (`int`):\n        The size of the update.\n    alpha (`int`):\n        How much it counts.\n"
    )
    item = JudgedItem(question="What is rank?", answer="The size of the update.", context=text, document="d")
    assert grounding(item).place > 0 > grounding(replace(item, answer="How much it counts.")).place


@pytest.mark.parametrize("text", ["", "x", "# Title", "?!"])
def test_a_chunk_without_a_sentence(text: str) -> None:
    assert len(chunk_pieces(text)) == 1
    assert groundedness(replace(ITEM, context=text)) < groundedness(ITEM)
