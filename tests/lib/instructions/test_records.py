"""Instruction records by every name that people give their parts, and every value that stands there."""

from typing import Any

import pytest

from stages.lib.instructions.records import as_pair
from stages.lib.reading.documents import Drop
from stages.lib.reading.drop_advice import keys_told, lacking

USER, SAID = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
HUMAN, GPT = {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}


@pytest.mark.parametrize(
    ("record", "pair"),
    [
        ({"instruction": "i", "input": "c", "output": "a"}, ("i\n\nc", "a")),
        ({"instruction": "i", "context": "c", "response": "a", "category": "x"}, ("i\n\nc", "a")),  # Dolly
        ({"prompt": "q", "completion": "a"}, ("q", "a")),
        ({"question": "q", "answer": "a"}, ("q", "a")),
        ({"query": "q", "response": "a"}, ("q", "a")),
        ({"problem": "q", "solution": "a"}, ("q", "a")),
        ({"inputs": "q", "targets": "a"}, ("q", "a")),
        ({"input": "q", "output": "a"}, ("q", "a")),
        ({"instruction": "", "input": "q", "output": "a"}, ("q", "a")),
        ({"Question ": "q", "ANSWER": "a"}, ("q", "a")),
        ({"\ufeffprompt": "no", "prompt": "q", "completion": "a"}, ("q", "a")),
        ({"system_prompt": "s", "question": "q", "response": "a"}, ("s\n\nq", "a")),  # OpenOrca
        ({"instruction": "i", "input": None, "output": "a"}, ("i", "a")),
        ({"instruction": "i", "input": 0, "output": "a"}, ("i\n\n0", "a")),
        ({"instruction": "i", "input": False, "output": "a"}, ("i\n\nfalse", "a")),
        ({"instruction": "i", "input": "<noinput>", "output": "a"}, ("i", "a")),
        ({"instruction": "i", "input": " No Input ", "output": "a"}, ("i", "a")),
        ({"instruction": "i", "input": "<noinput> is a word", "output": "a"}, ("i\n\n<noinput> is a word", "a")),
        ({"instruction": "i", "output": 4}, ("i", "4")),
        ({"instruction": "i", "output": 0}, ("i", "0")),
        ({"instruction": "i", "output": -2.5}, ("i", "-2.5")),
        ({"instruction": "i", "output": True}, ("i", "true")),
        ({"instruction": "i", "output": ["5"]}, ("i", "5")),
        ({"instruction": "i", "output": [5]}, ("i", "5")),
        ({"instruction": "i", "output": "", "answer": "a"}, ("i", "a")),
        ({"instruction": "&lt;b&gt;?", "output": "&amp;"}, ("&lt;b&gt;?", "&amp;")),  # may be what is asked for
        ({"messages": [USER, SAID]}, ("q", "a")),
        ({"Messages": [USER, SAID]}, ("q", "a")),
        ({"conversations": [HUMAN, GPT]}, ("q", "a")),
        ({"conversations": [{"from": "system", "value": "s"}, HUMAN, GPT]}, ("s\n\nq", "a")),
        ({"prompt": "q", "messages": [USER, SAID]}, ("q", "a")),  # UltraChat
        ({"prompt": [USER], "completion": [SAID]}, ("q", "a")),  # TRL's conversational records
        ({"prompt": "q", "completion": [SAID]}, ("q", "a")),
        ({"prompt": "q", "chosen": [USER, SAID], "rejected": [USER, SAID]}, ("q", "a")),  # UltraFeedback
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, ("q", "a")),
        ({"instruction": "i", "output": "a", "history": []}, ("i", "a")),
    ],
)
def test_records_become_pairs(record: dict[str, Any], pair: tuple[str, str]) -> None:
    assert as_pair("here", record) == pair


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        ({"text": "x"}, "no_instruction", "found text"),
        ({}, "no_instruction", "found none"),
        ({"\ud83d": "x"}, "no_instruction", "found \\ud83d"),  # or the file of drops could not be written
        ({"instruction": " ", "output": "a"}, "no_instruction", "nothing under instruction"),
        ({"instruction": {"a": 1}, "output": "a"}, "no_instruction", "instruction is dict"),
        ({"instruction": "i", "output": ""}, "no_output", "nothing under output"),
        ({"instruction": "i", "output": None}, "no_output", "nothing under output"),
        ({"instruction": "i", "output": []}, "no_output", "nothing under output"),
        ({"instruction": "i", "output": [" "]}, "no_output", "nothing under output"),
        ({"instruction": "i", "reply": "a"}, "no_output", "found instruction, reply"),
        ({"instruction": "i", "output": {"a": 1}}, "output_is_no_text", "dict: \"{'a': 1}\""),
        ({"instruction": "i", "output": float("nan")}, "output_is_no_text", "float: 'nan'"),
        ({"instruction": "i", "output": ["a", "b"]}, "several_outputs", "2 answers"),
        ({"instruction": "i", "input": {"a": 1}, "output": "a"}, "input_is_no_text", "input is dict"),
        ({"instruction": "i", "input": ["a"], "output": "a"}, "input_is_no_text", "input is list"),
        ({"instruction": "Cut \ud83d", "output": "a"}, "invalid_unicode", "surrogates"),
        ({"messages": [{"role": "user", "content": "\ud83d"}, SAID]}, "invalid_unicode", "surrogates"),
        ({"messages": [USER, SAID, USER, SAID]}, "several_turns", "user assistant user assistant"),
        ({"instruction": "i", "output": "a", "history": [["q", "a"]]}, "several_turns", "history"),
        ({"prompt": [USER, SAID, USER], "completion": [SAID]}, "several_turns", "user assistant user assistant"),
        ({"messages": [USER]}, "no_answer", "1 turns"),
        ({"messages": []}, "no_turns", "found '[]'"),
    ],
)
def test_what_is_no_pair_is_a_drop(record: dict[str, Any], reason: str, detail: str) -> None:
    found = as_pair("here", record)
    assert isinstance(found, Drop)
    assert (found.source, found.reason) == ("here", reason)
    assert detail in found.detail


def test_keys_are_told_by_how_often_they_lack() -> None:
    records: list[dict[str, Any]] = [{"text": "x"}, {"label": 1, "text": "x"}, {"text": "y"}]
    records.append({"question": "q", "a": "b"})
    counted = lacking(drop for record in records if isinstance(drop := as_pair("here", record), Drop))
    first, text, second, _, third, reply = keys_told(counted).split("; ")
    assert first.startswith("2 no_instruction: looked for the keys instruction, prompt, question,")
    assert (text, reply) == ("found text", "found question, a")
    assert (second[:16], third[:11]) == ("1 no_instruction", "1 no_output")
    assert keys_told(counted, 1) == f"{first}; found text"
    assert keys_told(lacking([Drop("here", "no_output", "nothing under output")])) == ""
