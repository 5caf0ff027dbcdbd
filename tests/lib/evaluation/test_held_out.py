"""Which questions are asked, and which reply is whose for the judge."""

from stages.lib.evaluation.held_out import choose_questions, make_pairs
from stages.lib.replying.conversation_replies import ConversationReply

RECORDS = [
    {"id": f"r{i}", "kind": "selected", "question": f"q{i}", "context": f"c{i}", "answer": f"a{i}"} for i in range(3)
]


def test_a_prompt_that_just_fits_is_asked() -> None:
    chosen, counts = choose_questions(RECORDS, [99, 100, 101], limit=100, questions=0, seed=0)
    assert {record["id"] for record in chosen} == {"r0", "r1"}
    assert counts == {"in": 3, "kept": 2, "dropped": {"too_long": 1}}


def test_the_second_answer_of_a_pair_is_the_one_that_wins_or_loses() -> None:
    base, tuned = (
        [ConversationReply(text=f"{who} {i}", tokens=1, finished=True) for i in range(3)] for who in ("base", "tuned")
    )
    pair = make_pairs(RECORDS, base, tuned)[1]
    assert (pair.question, pair.context, pair.reference) == ("q1", "c1", "a1")
    assert (pair.first, pair.second) == ("base 1", "tuned 1")
