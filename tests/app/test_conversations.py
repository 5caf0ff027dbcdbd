"""Conversations are kept whole, found by their own person, and exported where they were rated."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.conversations import Conversation, Conversations, rate, rated_records


def turn(question: str, **changes: Any) -> dict[str, Any]:
    return {
        "question": question,
        "answer": f"About {question}",
        "reasoning": "Because.",
        "citations": [{"readable": "A quote."}],
        "passages": [{"document": "a.pdf", "text": "First passage."}, {"document": "b.pdf", "text": "Second passage."}],
        "rating": "",
    } | changes


@pytest.fixture
def kept(tmp_path: Path) -> Conversations:
    return Conversations(tmp_path / "conversations")


def begun(kept: Conversations, *questions: str) -> Conversation:
    conversation = kept.new()
    conversation.turns += [turn(question) for question in questions]
    kept.keep(conversation)
    return conversation


def test_a_conversation_is_found_again_latest_first(kept: Conversations) -> None:
    assert kept.all() == []
    first, second = begun(kept, "apples?"), begun(kept, "pears?", "and plums?")
    assert [one.id for one in kept.all()] == [second.id, first.id]
    assert kept.get(second.id).turns == second.turns
    assert kept.get(second.id).title == "pears?"


def test_a_write_that_breaks_leaves_the_whole_one(
    kept: Conversations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = begun(kept, "apples?")
    conversation.turns.append(turn("more?"))

    def full(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("stages.lib.core.records.os.fsync", full)
    with pytest.raises(OSError, match="no room"):
        kept.keep(conversation)
    assert [one["question"] for one in kept.get(conversation.id).turns] == ["apples?"]
    assert len(list((tmp_path / "conversations").iterdir())) == 1


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "", "00000001-..", "00000001-0000000000000000/../x"])
def test_an_id_is_no_path(kept: Conversations, tmp_path: Path, name: str) -> None:
    begun(kept, "apples?")
    (tmp_path / "secret.json").write_text('{"turns": []}')
    for look_up in (kept.get, kept.open, kept.remove):
        with pytest.raises(KeyError):
            look_up(name)


def test_an_empty_conversation_leaves_no_file(kept: Conversations) -> None:
    conversation = begun(kept, "apples?")
    assert kept.open(kept.new().id).turns == []
    conversation.turns.clear()
    kept.keep(conversation)
    assert kept.all() == []


def test_history_holds_the_models_words_or_the_quotes() -> None:
    conversation = Conversation("x", [turn("a"), turn("b", answer=""), turn("c", answer="", citations=[])])
    assert [message["content"] for message in conversation.history] == ["a", "About a", "b", "A quote."]


def test_a_long_question_is_cut_for_the_title() -> None:
    assert len(Conversation("x", [turn("word " * 50)]).title) <= 60


def test_rating_twice_takes_it_back() -> None:
    one = turn("a")
    rate(one, "up")
    rate(one, "down")
    assert one["rating"] == "down"
    rate(one, "down")
    assert one["rating"] == ""


def test_rated_turns_are_records_with_their_passages() -> None:
    older = Conversation("1", [turn("a", rating="up"), turn("b")])
    newer = Conversation("2", [turn("c", rating="down", answer="", passages=[])])
    first, second = rated_records([newer, older])
    assert first == {
        "question": "a",
        "answer": "About a",
        "context": "First passage.\n\nSecond passage.",
        "source": "a.pdf",
        "reasoning": "Because.",
        "rating": "up",
    }
    assert (second["answer"], second["context"], second["source"], second["rating"]) == ("A quote.", "", "", "down")
    assert json.loads(json.dumps(first)) == first
