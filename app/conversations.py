"""A person's conversations on disk: one JSON file each, there complete or not at all.

A turn is `answer_json` of app/answer_json.py with three more keys: `model` (who wrote the words), `stopped`, and
`rating` ("up", "down" or "").
"""

import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.lib.core.records import Message, Record, read_json, write_json

TITLE_CHARS = 60
UP, DOWN = "up", "down"
_ID = re.compile(r"[0-9]{8}-[0-9a-f]{16}")


@dataclass
class Conversation:
    """What was asked and answered, oldest first."""

    id: str  # sorts by age: a count, then chance
    turns: list[Record] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The first question."""
        text = " ".join(str(self.turns[0]["question"]).split()) if self.turns else "New conversation"
        return text if len(text) <= TITLE_CHARS else text[: TITLE_CHARS - 1] + "…"

    @property
    def history(self) -> list[Message]:
        """Turns for a model: what was asked, and its words, or the quotes where it wrote none."""
        found: list[Message] = []
        for turn in self.turns:
            said = str(turn["answer"]) or " ".join(str(quote["readable"]) for quote in turn["citations"])
            if said:
                found += [{"role": "user", "content": turn["question"]}, {"role": "assistant", "content": said}]
        return found


class Conversations:
    """The conversations of one person."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self) -> list[Conversation]:
        """Latest begun first."""
        if not self._directory.is_dir():
            return []
        files = [file for file in self._directory.glob("*.json") if _ID.fullmatch(file.stem)]
        return [self._read(file) for file in sorted(files, reverse=True)]

    def get(self, name: str) -> Conversation:
        """A conversation by its id.

        Raises:
            KeyError: no such conversation of this person.
        """
        file = self._directory / f"{name}.json"
        if not _ID.fullmatch(name) or not file.is_file():
            raise KeyError(f"no conversation {name[:30]!r}")
        return self._read(file)

    def open(self, name: str) -> Conversation:
        """A conversation by its id, empty where nothing was kept of it.

        Raises:
            KeyError: it is no id.
        """
        if not _ID.fullmatch(name):
            raise KeyError(f"no conversation {name[:30]!r}")
        return self.get(name) if (self._directory / f"{name}.json").is_file() else Conversation(name)

    def new(self) -> Conversation:
        """An empty one, kept once it has a turn."""
        last = max((file.stem[:8] for file in self._directory.glob("*.json") if _ID.fullmatch(file.stem)), default="0")
        return Conversation(f"{int(last) + 1:08d}-{secrets.token_hex(8)}")

    def keep(self, conversation: Conversation) -> None:
        """Writes it, whole or not at all; an empty one is removed."""
        file = self._directory / f"{conversation.id}.json"
        if conversation.turns:
            write_json(file, {"turns": conversation.turns})
        else:
            file.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Forgets a conversation.

        Raises:
            KeyError: no such conversation of this person.
        """
        (self._directory / f"{self.get(name).id}.json").unlink()

    def _read(self, file: Path) -> Conversation:
        content: Any = read_json(file, "remove it, the other conversations are whole")
        return Conversation(file.stem, list(content["turns"]))


def rate(turn: Record, rating: str) -> None:
    """Marks a turn; the same mark again takes it back."""
    assert rating in (UP, DOWN)
    turn["rating"] = "" if turn.get("rating") == rating else rating


def rated_records(conversations: list[Conversation]) -> list[Record]:
    """One record for each turn that was rated, oldest first: a source of stage instruct.

    `answer` is the model's, or the quotes' where it wrote none; `context` the text of the passages, `source` the
    document of the best one.
    """
    records = []
    for conversation in reversed(conversations):
        for turn in conversation.turns:
            if turn.get("rating") not in (UP, DOWN):
                continue
            passages = turn["passages"]
            records.append(
                {
                    "question": turn["question"],
                    "answer": turn["answer"] or " ".join(quote["readable"] for quote in turn["citations"]),
                    "context": "\n\n".join(passage["text"] for passage in passages),
                    "source": passages[0]["document"] if passages else "",
                    "reasoning": turn["reasoning"],
                    "rating": turn["rating"],
                }
            )
    return records
