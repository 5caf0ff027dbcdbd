"""qlora on a chat set as people have it: ShareGPT's keys, empty answers, tool calls."""

from pathlib import Path
from typing import Any

import pytest

from stages import qlora
from stages.lib.core.metrics import read_results
from stages.lib.core.records import read_jsonl, write_jsonl
from tests.lib.lora.tiny_chat import chat_record, write_tiny_base
from tests.test_qlora import write_params


def test_other_layouts_are_learned_and_what_is_no_chat_is_dropped_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / ".cache"))
    write_params(tmp_path, write_tiny_base(tmp_path / "tiny"))
    good = [chat_record(i) for i in range(16)]
    turns = good[0]["messages"]
    share_gpt = [{"from": {"user": "human", "assistant": "gpt"}[t["role"]], "value": t["content"]} for t in turns]
    odd: list[dict[str, Any]] = [
        {"conversations": share_gpt},  # learned, under its place for an id
        {"id": "null", "messages": [turns[0], {"role": "assistant", "content": None}]},
        {"id": "tool", "messages": [turns[0], {"role": "tool", "content": "5"}, turns[1]]},
        {"id": "empty", "messages": [turns[0], {"role": "assistant", "content": ""}]},
        {"id": "none"},
    ]
    train = tmp_path / "data/instruct/synthetic_qa_train.jsonl"
    write_jsonl(train, [*good, *odd])
    write_jsonl(train.with_name("synthetic_qa_val.jsonl"), [chat_record(i) for i in range(20, 28)])
    qlora.main()
    dropped = {"empty_answer": 1, "no_turns": 1, "null_content": 1, "tool_call": 1}
    assert read_results("qlora")["train"] == {"in": 21, "kept": 17, "dropped": dropped}
    lines = read_jsonl(Path("models/tiny-qlora/dropped.jsonl"))
    place = "data/instruct/synthetic_qa_train.jsonl"
    assert [(line["id"], line["reason"]) for line in lines] == [
        (f"{place}:18", "null_content"), (f"{place}:19", "tool_call"), (f"{place}:20", "empty_answer"),
        (f"{place}:21", "no_turns"),
    ]  # fmt: skip
    told = capsys.readouterr().out
    assert "qlora: train: 1 empty_answer, 1 no_turns, 1 null_content, 1 tool_call; the first: " in told
    write_jsonl(train, [odd[1]])
    with pytest.raises(ValueError, match="none of 1 records is a chat that can be learned from: 1 null_content"):
        qlora.main()
