"""Chats in the layouts that people store them in, and what is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.lib.reading.chats import as_chat, read_chats, told, write_dropped
from stages.lib.reading.documents import Drop

ASKED, ANSWERED = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
TURNS = [ASKED, ANSWERED]


def turns(record: Any) -> list[dict[str, str]]:
    found = as_chat("f:1", record)
    assert not isinstance(found, Drop), found
    return found["messages"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "record",
    [
        {"messages": TURNS},
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
        {"conversation": [{"from": "Human", "value": "Why?"}, {"from": "chatgpt", "value": "So."}]},
        {"conversations": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]},
        {"messages": None, "conversations": [{"from": "user", "value": "Why?"}, {"from": "model", "value": "So."}]},
        {"messages": [{"role": "system", "content": None}, *TURNS]},  # an empty system turn says nothing
        {"messages": [{"role": "system", "content": " "}, *TURNS], "system": ""},
        {"messages": [*TURNS, {"role": "user", "content": "And?"}]},  # nobody answered
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "W"}, {"text": "hy?"}]}, ANSWERED]},
        {"messages": [ASKED, ANSWERED | {"tool_calls": None, "function_call": None, "name": "x"}]},
    ],
)
def test_the_layouts_become_one(record: Any) -> None:
    assert turns(record) == TURNS


def test_system_turns_and_thinking_are_kept_and_other_keys_too() -> None:
    system = {"role": "system", "content": "Be brief."}
    assert turns({"conversations": TURNS, "system": "Be brief."}) == [system, *TURNS]
    assert turns({"messages": [system, *TURNS], "system": "Be long."}) == [system, *TURNS]
    thinking = ANSWERED | {"reasoning_content": "Hm."}
    assert turns({"messages": [ASKED, thinking]}) == [ASKED, thinking]
    found = as_chat("f:1", {"conversations": TURNS, "kind": "x"})
    assert found == {"id": "f:1", "messages": TURNS, "kind": "x"}
    found = as_chat("f:1", {"id": 7, "messages": [ANSWERED]})  # an assistant that begins is the template's matter
    assert found == {"id": "7", "messages": [ANSWERED]}


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        ({}, "no_turns", "messages or conversations"),
        ({"messages": []}, "no_turns", "[]"),
        ({"messages": "Why?"}, "no_turns", "Why?"),
        ({"messages": ["Why?"]}, "not_a_turn", "turn 1: expected an object, found str"),
        ({"messages": [{"content": "Why?"}]}, "no_role", "['content']"),
        ({"messages": [{"role": 3, "content": "Why?"}]}, "no_role", "turn 1"),
        ({"messages": [{"role": "critic", "content": "x"}]}, "unknown_role", "'critic' is none of"),
        ({"messages": [ASKED, {"role": "assistant", "content": None}]}, "null_content", "turn 2: assistant"),
        ({"conversations": [{"from": "human", "value": None}]}, "null_content", "turn 1: human"),
        ({"messages": [ASKED, {"role": "assistant"}]}, "null_content", "its keys are ['role']"),
        ({"messages": [ASKED, {"role": "assistant", "content": " \n"}]}, "empty_answer", "turn 2"),
        ({"messages": [{"role": "user", "content": ""}, ANSWERED]}, "empty_turn", "turn 1"),
        ({"messages": [ASKED, {"role": "assistant", "content": 7}]}, "no_text", "7"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, ANSWERED]}, "no_text", "image_url"),
        ({"messages": [ASKED]}, "no_answer", "1 turns"),
        ({"messages": [ASKED, {"role": "tool", "content": "5"}, ANSWERED]}, "tool_call", "turn 2: tool"),
        ({"conversations": [ASKED, {"from": "function_call", "value": "f()"}]}, "tool_call", "turn 2"),
        (
            {"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
            "tool_call",
            "turn 2: assistant",
        ),
        ({"messages": [ASKED, {"role": "assistant", "content": "\ud83d"}]}, "invalid_unicode", "surrogates"),
    ],
)
def test_what_is_no_chat_is_a_drop_with_its_place(record: Any, reason: str, detail: str) -> None:
    found = as_chat("f:3", record)
    assert isinstance(found, Drop), found
    assert (found.source, found.reason) == ("f:3", reason)
    assert detail in found.detail


def test_a_file_is_read_with_its_drops(tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    lines = [{"messages": TURNS}, {"messages": [ASKED]}, {"conversations": TURNS, "id": "b"}, {"messages": [ASKED]}]
    file.write_text("\n".join(json.dumps(line) for line in lines) + "\n{broken\n[1]\n")
    chats, drops = read_chats(file)
    assert [chat["id"] for chat in chats] == [f"{file}:1", "b"]
    assert [(drop.source, drop.reason) for drop in drops] == [
        (f"{file}:2", "no_answer"), (f"{file}:4", "no_answer"), (f"{file}:5", "broken_json"),
        (f"{file}:6", "not_an_object"),
    ]  # fmt: skip
    assert told(drops) == "2 no_answer, 1 broken_json, 1 not_an_object"
    write_dropped(tmp_path / "dropped.jsonl", drops)
    first = json.loads((tmp_path / "dropped.jsonl").read_text().splitlines()[0])
    assert first == {"id": f"{file}:2", "reason": "no_answer", "detail": "1 turns"}
    write_dropped(tmp_path / "none.jsonl", [])
    assert not (tmp_path / "none.jsonl").exists()


def test_a_file_without_a_chat_says_why(tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text(json.dumps({"messages": [ASKED]}) + "\n" + json.dumps({"text": "x"}))
    with pytest.raises(
        ValueError, match=r"none of 2 records is a chat that can be learned .*: 1 no_answer, 1 no_turns"
    ):
        read_chats(file)
    with pytest.raises(ValueError, match="no such file"):
        read_chats(tmp_path / "gone.jsonl")
