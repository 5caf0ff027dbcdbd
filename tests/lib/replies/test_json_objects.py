"""The object that a reply means, among echoes, drafts and what is not quite JSON."""

from typing import Any

import pytest

from stages.lib.replies.json_objects import find_json_object

SCORE = {"score": (int,)}


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"score": 1} no, better: {"score": 2}', 2),
        ('{"score": 1} no, better: {"score": 2,}', 2),
        ('{"score": 1,} no, better: {"score": 2}', 2),
        ("{\"score\": 1,} no, better: {'score': 2}", 2),
        ('{"score": 2} {"other": 1}', 2),
        ('{"result": {"score": 3}}', 3),
        ('[{"score": 3}, {"other": 4}]', 3),
        ('{"properties": {"score": {"type": "integer"}}} {"score": 3}', 3),
        ('{"properties": {"score": {"type": "integer"}}}', None),
        ('{"Score": 3}', 3),
        ('{"score": 3 // good\n}', 3),
        ('```json\n{"score": 3,\n}\n```\nI hope this helps.', 3),
        ("{score: 3}", 3),
        ('{"text": "It is "good" and fine", "score": 3}', 3),
        ('{"text": "a {brace} in it", "score": 3,}', 3),
        ('{"text": None, "ok": True, "score": 3}', 3),
        ('{"score": 3', 3),
        ('{"text": "so the score', None),
        ("Put the score between { and }", None),
        ("{the score: it depends, I say 4}", None),
        ('{"score": <1 to 5>}', None),
        ('{"score": true}', None),
        ('<think>{"score": 1}</think> none', None),
        ("", None),
    ],
)
def test_the_last_object_with_the_keys(text: str, score: int | None) -> None:
    found = find_json_object(text, SCORE)
    assert (found and found["score"]) == score


def test_the_end_of_a_cut_off_reply_is_not_repaired() -> None:
    def found(text: str) -> dict[str, Any] | None:
        return find_json_object(text, SCORE, complete=False)

    assert found('{"score": 3') is None
    assert found('{"score": 3} and then') == {"score": 3}


def test_many_braces_are_read_in_a_moment() -> None:
    assert find_json_object("{" * 5000 + '"score": ', SCORE) is None
