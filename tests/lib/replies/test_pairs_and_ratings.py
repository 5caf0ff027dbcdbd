import pytest

from stages.lib.replies.pairs_and_ratings import parse_question_answer, parse_rating


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


R8 = ("What is the default of r in LoraConfig?", "8")


@pytest.mark.parametrize(
    ("reply", "pair"),
    [
        ("{'question': 'What is the default of r in LoraConfig?', 'answer': '8'}", R8),
        ('{"question": "What is the default of r in LoraConfig?", "answer": "8",}', R8),
        ('{"question": "What is the default\nof r in LoraConfig?", "answer": "8"}', R8),
        (
            '{"type": "object", "properties": {"question": {"type": "string"}}}\n'
            '{"question": "What is the default of r in LoraConfig?", "answer": "8"}',
            R8,
        ),
        ("**Question:** What is the default of r in LoraConfig?\n**Answer:** 8", R8),
        ("Question：What is the default of r in LoraConfig?\nAnswer：8", R8),
        (
            '{"question": "What does the <|end|> token do in Phi-3\'s chat template?", "answer": "It ends a turn."}',
            ("What does the <|end|> token do in Phi-3's chat template?", "It ends a turn."),
        ),
        ('Draft: {"question": "Q?", "answer": "A"}\n</think>\n\nI cannot ask about this.', None),
        (
            '{"question": "What ends the thinking of Qwen3?", "answer": "</think>"}',
            ("What ends the thinking of Qwen3?", "</think>"),
        ),
        ('{"question": {"type": "string"}, "answer": {"type": "string"}}', None),
    ],
)
def test_what_is_nearly_json_is_read(reply: str, pair: tuple[str, str] | None) -> None:
    assert parse_question_answer(reply) == pair


def test_a_reply_that_was_cut_off_is_not_repaired() -> None:
    reply = '{"question": "What is r?", "answer": "A rank."'
    assert parse_question_answer(reply) == ("What is r?", "A rank.")
    assert parse_question_answer(reply, complete=False) is None
    assert parse_rating('{"rationale": "Good.", "score": 4') == ("Good.", 4)
    assert parse_rating('{"rationale": "Good.", "score": 4', complete=False) is None
