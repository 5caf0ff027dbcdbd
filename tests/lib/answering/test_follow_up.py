"""Which questions lean on the one before."""

import pytest

from stages.lib.answering.follow_up import searched_question
from stages.lib.core.records import Message

HISTORY: list[Message] = [
    {"role": "user", "content": "Which reward keeps the languages apart?"},
    {"role": "assistant", "content": "A language consistency reward."},
]


@pytest.mark.parametrize(
    "question",
    ["Why do they use it?", "And how is it computed?", "Why?", "Wie wird sie berechnet?", "What about the others?"],
)
def test_a_question_that_leans_is_searched_with_the_one_before(question: str) -> None:
    assert searched_question(question, HISTORY) == f"Which reward keeps the languages apart? {question}"
    assert searched_question(question, []) == question


@pytest.mark.parametrize(
    "question", ["How many samples were used for supervised fine-tuning?", "What AIME score does DeepSeek-R1 reach?"]
)
def test_a_question_that_stands_by_itself_is_left_alone(question: str) -> None:
    assert searched_question(question, HISTORY) == question
