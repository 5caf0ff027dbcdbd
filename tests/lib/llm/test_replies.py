import pytest

from stages.lib.llm.replies import parse_question_answer, parse_rating


@pytest.mark.parametrize(
    "reply",
    [
        '{"question": "What is r?", "answer": "A rank."}',
        'Sure!\n```json\n{"question": "What is r?", "answer": "A rank."}\n```',
        '{ } then {"answer": "A rank.", "question": "What is\\n r?", "more": 1}',
        "Factoid question: What is r?\nAnswer: A rank.",
        "**Question:** What is r?\n**Answer:** A rank.\n\nI hope this helps.",
        "Output:::\nFactoid question: What is r?\nFactoid answer: A rank.",
    ],
)
def test_questions_and_answers_are_read(reply: str) -> None:
    if reply.startswith("{ }"):
        assert parse_question_answer(reply) is None  # the first object counts
    else:
        assert parse_question_answer(reply) == ("What is r?", "A rank.")


def test_a_number_is_an_answer() -> None:
    assert parse_question_answer('{"question": "How many?", "answer": 8}') == ("How many?", "8")


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "What is r?",
        '{"question": "What is r?"}',
        '{"question": "What is r?", "answer": ""}',
        '{"question": 3, "answer": "8"}',
        '{"question": "Is it?", "answer": true}',
        '{"question": "What is r?", "answ',
        "[]",
        '"question"',
    ],
)
def test_garbage_is_none(reply: str) -> None:
    assert parse_question_answer(reply) is None


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ('{"rationale": "Good.", "score": 4}', ("Good.", 4)),
        ('{"rationale": "Good.", "score": "4"}', ("Good.", 4)),
        ('{"score": 4.0}', ("", 4)),
        ("It is good.\nTotal rating: 4/5", ("It is good. Total", 4)),
        ("Form score: 2. Total rating: 4", ("Form", 4)),
        ('{"rationale": "Good.", "score": 6}', None),
        ('{"rationale": "Bad.", "score": 0}', None),
        ('{"rationale": "Good.", "score": true}', None),
        ('{"rationale": "Good.", "score": 4.5}', None),
        ("Rating: 12", None),
        ("It is good.", None),
    ],
)
def test_ratings_are_read(reply: str, rating: tuple[str, int] | None) -> None:
    assert parse_rating(reply) == rating
