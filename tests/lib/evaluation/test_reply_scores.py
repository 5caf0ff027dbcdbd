"""What a reply is scored as, and over which questions each measure is taken."""

from typing import Any

import pytest

from stages.lib.core.records import Record
from stages.lib.evaluation.comparison import compare_systems
from stages.lib.evaluation.reply_scores import make_measures, not_scored, score_reply, win_row
from stages.lib.evaluation.win_rate import Outcome, Preference
from stages.lib.replying.conversation_replies import ConversationReply

NOT_TOLD = "The text does not say that."
RECORDS: list[Record] = [
    {"kind": "selected", "answer": "the red lamp"},
    {"kind": "selected", "answer": "the blue lamp"},
    {"kind": "unanswerable", "answer": NOT_TOLD},
    {"kind": "unanswerable", "answer": NOT_TOLD},
    {"kind": "false_premise", "answer": "No, but 5.", "change": {"type": "number", "true": "5", "false": "7"}},
]


def rows(*texts: str) -> list[Record]:
    replies = [ConversationReply(text=text, tokens=len(text.split()), finished=True) for text in texts]
    return [score_reply(record, reply, 0.5) for record, reply in zip(RECORDS, replies, strict=True)]


def values(**systems: list[Record]) -> dict[str, dict[str, Any]]:
    measures, absent = make_measures(RECORDS, systems)
    assert absent == {}
    table = compare_systems(measures, 200, 0)
    return {system: {name: row["value"] for name, row in found.items()} for system, found in table.items()}


def test_a_refusal_is_right_where_the_text_does_not_tell() -> None:
    found = values(
        base=rows(NOT_TOLD, NOT_TOLD, NOT_TOLD, "the red lamp", "It is 7."),  # three refusals, one of them right
        tuned=rows("the red lamp", "the blue lamp", NOT_TOLD, NOT_TOLD, "No, it is not 7, but 5."),
    )
    assert found["base"]["refusal_precision"] == pytest.approx(1 / 3)
    assert found["base"]["refusal_recall"] == pytest.approx(1 / 2)
    assert found["base"]["correction_rate"] == 0
    assert found["base"]["token_f1_answerable"] == 0
    assert (found["tuned"]["refusal_precision"], found["tuned"]["refusal_recall"]) == (1, 1)
    assert found["tuned"]["correction_rate"] == 1
    assert found["tuned"]["token_f1_answerable"] == 1


def test_saying_that_it_is_not_told_corrects_no_premise() -> None:
    found = values(base=rows("a", "b", NOT_TOLD, NOT_TOLD, NOT_TOLD))
    assert found["base"]["correction_rate"] == 0
    assert found["base"]["refusal_precision"] == pytest.approx(2 / 3)


def test_the_scores_of_one_reply() -> None:
    said = score_reply(RECORDS[0], ConversationReply(text="lamp, the red one", tokens=7, finished=False), 0.25)
    assert said == {
        "token_f1": pytest.approx(2 * 2 / (2 + 3)),  # "the" does not count; both words, in any order
        "rouge_l": pytest.approx(2 * 2 / (4 + 3)),  # "the red" in a row
        "embedding_similarity": 0.25,
        "declined": 0,
        "corrected": None,
        "tokens": 7,
        "finished": 0,
    }


def test_what_cannot_be_scored_is_null_and_left_out_of_the_means() -> None:
    records: list[Record] = [
        {"kind": "selected", "answer": "……"},
        {"kind": "selected", "answer": "默认值是8"},
        {"kind": "selected", "answer": "默认值是4"},
    ]
    said = [ConversationReply(text="默认值是8", tokens=5, finished=True)] * 3
    rows = {"base": [score_reply(record, reply, 0.5) for record, reply in zip(records, said, strict=True)]}
    assert rows["base"][0]["token_f1"] is rows["base"][0]["rouge_l"] is None
    measures, _ = make_measures(records, rows)
    parts = {measure.name: measure.parts["base"] for measure in measures}
    assert parts["token_f1"] == parts["rouge_l"] == parts["token_f1_answerable"] == [1.0, 0.75]
    assert len(parts["embedding_similarity"]) == 3
    assert not_scored(rows) == {"token_f1": 1, "rouge_l": 1}
    measures, absent = make_measures(records[:1], {"base": rows["base"][:1]})
    assert absent["token_f1"] == absent["token_f1_answerable"] == "no reference has a word"
    assert not_scored({"base": rows["base"][1:]}) == {}


def verdicts(*outcomes: Outcome | None) -> list[Preference]:
    return [Preference(outcome=outcome, disagreed=outcome == "tie") for outcome in outcomes]


def test_wins_are_over_the_questions_that_were_judged() -> None:
    row = win_row(verdicts("win", "win", "tie", "loss", None), 200, 0)
    assert row is not None
    assert row["value"] == pytest.approx(2.5 / 4)
    assert row["low"] <= row["value"] <= row["high"]
    assert row["questions"] == {"in": 5, "kept": 4, "dropped": {"judge_failed": 1}}
    assert row["outcomes"] == {"win": 2, "tie": 1, "loss": 1}
    assert row["orders_disagreed"] == 1
    assert win_row(verdicts(None, None), 200, 0) is None


def test_ties_alone_are_no_win_and_no_loss() -> None:
    row = win_row(verdicts("tie", "tie", "tie"), 200, 0)
    assert row is not None
    assert (row["value"], row["p"]) == (0.5, 1.0)
