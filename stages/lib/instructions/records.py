"""An instruction record, by whatever names people give its parts -> prompt and answer, or the drop that it is.

Names are compared in small letters: Alpaca's instruction, input, output; Dolly's instruction, context, response;
prompt and completion, question and answer, query and response; `messages` and ShareGPT's `conversations`.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from stages.lib.core.records import Record
from stages.lib.reading.chats import TURNS, as_chat
from stages.lib.reading.documents import Drop
from stages.lib.reading.drop_advice import lacks
from stages.lib.tokens.instruction_template import prompt_text

# The first of these that says something counts.
PROMPT_KEYS = ("instruction", "prompt", "question", "query", "problem", "inputs", "user", "human")
CONTEXT_KEYS = ("input", "context")  # what the prompt is about; alone, it is the prompt
ANSWER_KEYS = ("output", "completion", "answer", "response", "solution", "targets", "assistant", "chosen")
SYSTEM_KEYS = ("system", "system_prompt")
Pair = tuple[str, str]  # prompt and answer
_NO_INPUT = re.compile(r"<?\s*no[ _-]?input\s*>?", re.IGNORECASE)  # how Alpaca's makers marked an empty input


def as_pair(where: str, record: Record) -> Pair | Drop:
    """An instruction record in the template's two parts; a chat of one question and answer is one (reading/chats.py).

    Numbers, true and false are their text as JSON writes them; of a list with one answer it is that one. Drop reasons:
    those of `as_chat`, `several_turns` (the template has room for one question), `no_instruction`, `no_output` (absent
    or empty), `input_is_no_text`, `output_is_no_text`, `several_outputs`, `invalid_unicode`.
    """
    named: dict[str, Any] = {}
    for key, value in record.items():
        named.setdefault(str(key).strip().casefold(), value)
    prompt, answer = _said(named, PROMPT_KEYS), _said(named, ANSWER_KEYS)
    if are_turns(prompt) or are_turns(answer):
        return _from_turns(where, {"messages": _joined(prompt, answer)})
    if (prompt is None or answer is None) and any(named.get(name) is not None for name in TURNS):
        return _from_turns(where, named)
    if named.get("history"):
        return Drop(where, "several_turns", "turns under history")
    parts = [_said(named, SYSTEM_KEYS), prompt, _without_marker(_said(named, CONTEXT_KEYS))]
    for name, part in zip(("system", "instruction", "input"), parts, strict=True):
        if part is not None and _text(part) is None:
            reason = "no_instruction" if name == "instruction" else "input_is_no_text"
            return Drop(where, reason, f"{name} is {type(part).__name__}: {str(part)[:60]!r}")
    if all(part is None for part in parts[1:]):
        return Drop(where, "no_instruction", _absent(named, (*PROMPT_KEYS, *CONTEXT_KEYS, *TURNS[:2])))
    if isinstance(answer, list):
        if len(answer) > 1:
            return Drop(where, "several_outputs", f"{len(answer)} answers to one question")
        answer = answer[0]
    if _is_blank(answer):
        return Drop(where, "no_output", _absent(named, ANSWER_KEYS))
    said = _text(answer)
    if said is None:
        return Drop(where, "output_is_no_text", f"found {type(answer).__name__}: {str(answer)[:60]!r}")
    return made_pair(where, [_text(part) or "" for part in parts], said)


def made_pair(where: str, parts: Sequence[str], answer: str) -> Pair | Drop:
    """A prompt of its parts, with an empty line between them, and its answer."""
    prompt = prompt_text(*parts)
    try:
        (prompt + answer).encode()
    except UnicodeEncodeError as error:
        return Drop(where, "invalid_unicode", str(error))
    return prompt, answer.strip()


def are_turns(value: Any) -> bool:
    """Whether a value is a list of turns, in one of the two layouts."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and turn.keys() & {"role", "from"} for turn in value)
    )


def _from_turns(where: str, record: Record) -> Pair | Drop:
    chat = as_chat(where, record)
    if isinstance(chat, Drop):
        return chat
    turns = [message for message in chat["messages"] if message["role"] != "system"]
    if [message["role"] for message in turns] != ["user", "assistant"]:
        return Drop(where, "several_turns", " ".join(message["role"] for message in turns))
    return made_pair(where, [message["content"] for message in chat["messages"][:-1]], turns[-1]["content"])


def _joined(prompt: Any, answer: Any) -> list[Any]:
    """The turns of TRL's conversational records; an answer that repeats the question (UltraFeedback) is all of them."""
    asked = prompt if are_turns(prompt) else [] if prompt is None else [{"role": "user", "content": prompt}]
    if not are_turns(answer):
        return [*asked, {"role": "assistant", "content": answer}]
    first = next((turn[key] for turn in answer[:1] for key in ("role", "from") if key in turn), None)
    return [*answer] if first in ("system", "user", "human") else [*asked, *answer]


def _said(named: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """The value of the first key that has one; None: there is none, or each is empty."""
    return next((named[key] for key in keys if not _is_blank(named.get(key))), None)


def _is_blank(value: Any) -> bool:
    return value is None or value in ([], {}) or (isinstance(value, str) and not value.strip())


def _without_marker(value: Any) -> Any:
    return None if isinstance(value, str) and _NO_INPUT.fullmatch(value.strip()) else value


def _text(value: Any) -> str | None:
    """A text, or a number, true or false as one; None: it is something else, or not a number (NaN)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    return None


def _absent(named: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Why a part is absent: no such key, or nothing under it."""
    empty = [key for key in keys if key in named]
    if empty:
        return f"nothing under {', '.join(empty)}"
    return lacks("", "", keys, list(named)).detail
