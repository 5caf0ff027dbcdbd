import json
from pathlib import Path
from typing import Any

import pytest

from stages.lib.chats.abstracts import AbstractFiles, AnswerFiles, read_abstracts, read_answers
from stages.lib.chats.qa_items import QAItem
from stages.lib.core.params import from_mapping
from stages.lib.reading.documents import Drop


def written(path: Path, records: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, records)))
    return str(path)


def test_abstracts_become_texts_to_ask_about(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"id": 7, "title": " A\nTitle ", "abstract": "One  fact.\nAnother."},
        {"id": "b", "abstract": ["First part.", "", {"context": "Second part."}]},
        {"title": "No id", "abstract": "Third."},
        {"id": "c", "abstract": "One fact.  Another."},
        {"id": "d", "title": "No abstract"},
        {"id": "e", "abstract": 5},
        {"id": "f", "abstract": "\ud83d alone"},
    ]
    found = list(read_abstracts(AbstractFiles(patterns=[written(tmp_path / "a.jsonl", records)])))
    first, second, third, *drops = found
    assert first == {
        "id": "7",
        "source": "7",
        "title": "A Title",
        "text": "One fact. Another.",
        "start": 0,
        "topic": "",
    }
    assert isinstance(second, dict) and second["text"] == "First part.\n\nSecond part."
    assert isinstance(third, dict) and len(third["id"]) == 12
    reasons = [drop.reason for drop in drops if isinstance(drop, Drop)]
    assert reasons == ["duplicate", "no_abstract", "no_abstract", "invalid_unicode"]


def test_a_limit_ends_the_reading(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [{"abstract": f"Fact {i}."} for i in range(9)])
    assert len(list(read_abstracts(AbstractFiles(patterns=[path], limit=4)))) == 4


def test_answers_lose_their_mark_and_keep_their_paper(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"pid": "p1", "que": "Why\nso?", "ans": "A: Because. It is."},
        {"pid": "p1", "que": "why so?", "ans": "A: Again."},
        {"pid": "p2", "que": "Why so?", "ans": "A: Because."},
        {"pid": "p2", "que": "And how?", "ans": "A: "},
        {"que": "Whose?", "ans": "None."},
        {"pid": "p3", "ans": "Yes."},
    ]
    found = list(read_answers(AnswerFiles(patterns=[written(tmp_path / "a.jsonl", records)])))
    items = [item for item in found if isinstance(item, QAItem)]
    assert [(item.kind, item.source, item.context, item.question, item.answer) for item in items] == [
        ("closed_book", "p1", "", "Why so?", "Because. It is."),
        ("closed_book", "p2", "", "Why so?", "Because."),
    ]
    assert len({item.id for item in items}) == 2
    assert [drop.reason for drop in found if isinstance(drop, Drop)] == [
        "duplicate",
        "no_answer",
        "no_paper",
        "no_question",
    ]


def test_entries_are_strict() -> None:
    with pytest.raises(ValueError, match="did you mean 'text_key'"):
        from_mapping(AbstractFiles, {"patterns": ["x"], "textkey": "y"}, "abstracts[0]")
    with pytest.raises(ValueError, match=r"abstracts\[0\]: patterns needs a pattern"):
        from_mapping(AbstractFiles, {"patterns": []}, "abstracts[0]")
    with pytest.raises(ValueError, match="limit is at least 0"):
        from_mapping(AnswerFiles, {"patterns": ["x"], "limit": -1}, "question_answers[0]")
