"""Chats as people store them -> turns of system, user and assistant; what is none becomes a drop with its place.

Two layouts are common: `messages` of `role` and `content` (OpenAI, the Hugging Face libraries), and ShareGPT's
`conversations` of `from` and `value` with the roles human and gpt. A content may be a text or a list of text parts.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.lib.core.records import Message, Record, write_jsonl
from stages.lib.reading.documents import Drop
from stages.lib.reading.json_records import json_records

TURNS = ("messages", "conversations", "conversation")
ROLES = {
    **dict.fromkeys(("system",), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
}
TOOLS = frozenset("tool function function_call function_response tool_call tool_response observation".split())
MAX_BYTES = 500_000_000  # of a JSON file or a line


def holds_turns(record: Record) -> bool:
    """Whether a record is a chat, in one of the layouts."""
    return any(name in record for name in TURNS)


def as_chat(where: str, record: Record) -> Record | Drop:
    """The record with `id` (its own, or its place) and `messages`, whose roles are system, user and assistant.

    Empty system turns, and turns behind the last answer, are left out: they teach nothing. A text under `system` is the
    first turn where there is no other. Drop reasons: `no_turns`
    (no list, or an empty one), `not_a_turn` (no object), `no_role`, `unknown_role`, `tool_call` (a turn of a tool, or
    one that calls it), `null_content`, `no_text` (a number, an image), `empty_turn`, `empty_answer`, `no_answer` (no
    turn of the assistant), `invalid_unicode`.
    """
    content = next((record[name] for name in TURNS if record.get(name) is not None), None)
    if not isinstance(content, list) or not content:
        return Drop(where, "no_turns", f"expected a list under {' or '.join(TURNS[:2])}, found {str(content)[:60]!r}")
    messages: list[Message] = []
    for number, turn in enumerate(content, start=1):
        found = _turn(turn)
        if isinstance(found, tuple):
            return Drop(where, found[0], f"turn {number}: {found[1]}")
        if found["content"].strip():
            messages.append(found)
    system = record.get("system")
    if isinstance(system, str) and system.strip() and messages and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
    if not messages:
        return Drop(where, "no_answer", f"{len(content)} turns")
    try:
        "".join(text for message in messages for text in message.values()).encode()
    except UnicodeEncodeError as error:
        return Drop(where, "invalid_unicode", str(error))
    name = record.get("id")
    rest = {key: value for key, value in record.items() if key not in (*TURNS, "system")}
    return rest | {"id": where if name is None or name == "" else str(name), "messages": messages}


def read_chats(path: Path) -> tuple[list[Record], list[Drop]]:
    """The chats of a JSONL or JSON file, and the drops: those of reading, and of `as_chat`.

    Raises:
        ValueError: there is no such file, or none of its records is a chat.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; the stage that writes it has not run")
    chats: list[Record] = []
    drops: list[Drop] = []
    for found in json_records(path, MAX_BYTES):
        chat = found if isinstance(found, Drop) else as_chat(*found)
        if isinstance(chat, Drop):
            drops.append(chat)
        else:
            chats.append(chat)
    if drops and not chats:
        first = drops[0]
        raise ValueError(
            f"{path}: none of {len(drops)} records is a chat that can be learned from: {told(drops)}; the first: "
            f"{first.source}: {first.detail}"
        )
    return chats, drops


def write_dropped(path: Path, drops: Sequence[Drop]) -> None:
    """Writes each drop's place, reason and detail; no file where there is none."""
    if drops:
        write_jsonl(path, [{"id": drop.source, "reason": drop.reason, "detail": drop.detail} for drop in drops])


def told(drops: Sequence[Drop]) -> str:
    """The reasons with their counts, the commonest first: "3 null_content, 1 tool_call"."""
    reasons = Counter(drop.reason for drop in drops)
    ordered = sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{count:,} {reason}" for reason, count in ordered)


def _turn(turn: Any) -> Message | tuple[str, str]:
    """A turn, or why it is none: reason and detail."""
    if not isinstance(turn, dict):
        return "not_a_turn", f"expected an object, found {type(turn).__name__}"
    named = next((turn[key] for key in ("role", "from") if turn.get(key) is not None), None)
    if not isinstance(named, str) or not named.strip():
        return "no_role", f"its keys are {sorted(map(str, turn))}"
    role = named.strip().lower()
    if role in TOOLS or turn.get("tool_calls") or turn.get("function_call"):
        return "tool_call", named
    if role not in ROLES:
        return "unknown_role", f"{named!r} is none of {', '.join(ROLES)}"
    content = next((turn[key] for key in ("content", "value") if key in turn), None)
    if content is None and ROLES[role] == "system":
        content = ""
    if content is None:
        return "null_content", f"{named} says nothing; its keys are {sorted(map(str, turn))}"
    text = _text(content)
    if text is None:
        return "no_text", f"the content of {named} is {str(content)[:60]!r}"
    if not text.strip() and ROLES[role] != "system":
        return ("empty_answer" if ROLES[role] == "assistant" else "empty_turn"), named
    message = {"role": ROLES[role], "content": text}
    if ROLES[role] == "assistant" and isinstance(turn.get("reasoning_content"), str):
        message["reasoning_content"] = turn["reasoning_content"]
    return message


def _text(content: Any) -> str | None:
    """A content's text; of a list of parts, which are texts, theirs in a row. None: it is another thing."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if len(texts) == len(parts) else None
