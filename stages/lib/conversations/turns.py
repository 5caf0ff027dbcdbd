"""The turns of a conversation before a template sees them: what they must be, folding, and what was thought."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stages.lib.replies.thinking import MARKS


class UnfitConversationError(ValueError):
    """A conversation that cannot be written as the model's turns; `reason` is what it is counted by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def check_turns(messages: Sequence[Mapping[str, Any]], where: str) -> list[dict[str, str]]:
    """The turns with role, content and reasoning_content (of an assistant's turn that has one), each a text.

    Raises:
        UnfitConversationError: there is no turn, or one without a role or a content that is a text.
    """
    if not messages:
        raise UnfitConversationError("no_turns", f"{where}: there are no turns")
    turns = []
    for i, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not role:
            raise UnfitConversationError(
                "no_role", f"{where}: turn {i + 1} has no role, its keys are {sorted(message)}"
            )
        if not isinstance(content, str):
            raise UnfitConversationError(
                "no_text", f"{where}: turn {i + 1} ({role}): content is {content!r}, and must be a text"
            )
        turn = {"role": role, "content": content}
        if role == "assistant" and isinstance(message.get("reasoning_content"), str):
            turn["reasoning_content"] = message["reasoning_content"]
        turns.append(turn)
    return turns


def folded(turns: Sequence[Mapping[str, str]], where: str = "the conversation") -> list[dict[str, str]]:
    """The turns with the leading system turns at the head of the first user turn, a blank line between.

    Raises:
        UnfitConversationError: a system turn that no user turn follows.
    """
    count = next((i for i, turn in enumerate(turns) if turn["role"] != "system"), len(turns))
    rest = [dict(turn) for turn in turns[count:]]
    late = next((i for i, turn in enumerate(rest) if turn["role"] == "system"), None)
    if late is not None:
        raise UnfitConversationError(
            "late_system_turn",
            f"{where}: turn {count + late + 1} is a system turn, for which the chat template has no place; only one "
            "at the beginning can go to the first user turn: move it there",
        )
    said = [turn["content"] for turn in turns[:count] if turn["content"].strip()]
    if not said:
        return rest
    if not rest or rest[0]["role"] != "user":
        raise UnfitConversationError(
            "system_turn_alone",
            f"{where}: the chat template has no place for a system turn, and no user turn follows that could begin "
            "with its text: add one, or take the system turn away",
        )
    rest[0]["content"] = "\n\n".join([*said, rest[0]["content"]])
    return rest


def with_thinking(turns: Sequence[Mapping[str, str]], template: str, thinking: bool) -> list[dict[str, str]]:
    """The turns with what an assistant thought in `reasoning_content`, where the model thinks; else without it.

    It may stand at the head of the content, between marks that the template knows.
    """
    made = []
    for original in turns:
        turn = dict(original)
        if turn["role"] == "assistant":
            thought, said = split_thinking(turn["content"], template)
            thought = turn.pop("reasoning_content", "") or thought
            turn["content"] = said
            if thinking and thought.strip():
                turn["reasoning_content"] = thought
        made.append(turn)
    return made


def marks_of_thinking(template: str) -> tuple[str, str] | None:
    """The marks around what was thought that a template knows; None: it knows none."""
    return next((pair for pair in MARKS if pair[1] in template), None)


def split_thinking(content: str, template: str) -> tuple[str, str]:
    """What stands between marks of thinking at the head of a content, and the rest; marks that the template knows."""
    marks = marks_of_thinking(template)
    if marks is None:
        return "", content
    opening, closing = map(re.escape, marks)
    match = re.match(rf"\s*{opening}(.*?){closing}\s*", content, re.DOTALL)
    return (match[1].strip("\n"), content[match.end() :]) if match else ("", content)
