"""From a conversation to the token ids that llama.cpp reads, by the chat template in the file.

The rules are those of `stages/lib/conversations`, so that a GGUF is asked as the model was trained: a system turn that
the template has no place for goes to the head of the first user turn, the date is fixed, what the vocabulary puts first
is there once, and what people and documents say is text: a `<|im_start|>` in a question is tokenized as its letters.
llama.cpp itself would read it as the token, in whole prompts and in chat requests alike; here contents are quoted
before the template is rendered, and each stretch of text that holds such a string is tokenized apart.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import httpx

from stages.lib.conversations.chat_format import DATE_STRING
from stages.lib.conversations.turns import UnfitConversationError, folded
from stages.lib.llm.gguf_facts import GgufFacts
from stages.lib.replies.thinking import FINAL_CHANNEL, HARMONY
from stages.lib.weights.models import SystemRole

Ask = Callable[[str, dict[str, Any]], httpx.Response]  # path and body ({}: none) -> llama.cpp's answer
_COMPLAINT = re.compile(r"(?:Jinja Exception|Error): (?P<words>[^\n\\]+)")


@dataclass(frozen=True)
class GgufPrompt:
    """What is read before a reply."""

    text: str
    tokens: list[int]
    key: str  # differs where the tokens do: the text, and what of it is no markup


class GgufPrompts:
    """The template and vocabulary of a file that a server of llama.cpp has loaded."""

    def __init__(self, facts: GgufFacts, system_role: SystemRole, ask: Ask) -> None:
        """`system_role`: of the model's entry; `ask`: asks the server."""
        self._facts, self._system_role, self._ask = facts, system_role, ask

    def read(self, messages: Sequence[Mapping[str, str]], thinking: bool, answer_prefix: str = "") -> GgufPrompt:
        """The prompt of a conversation up to where the assistant answers, or goes on after `answer_prefix`.

        Raises:
            UnfitConversationError: the template refuses the conversation, or leaves a turn out.
        """
        turns = [dict(turn) for turn in messages]
        if turns[0]["role"] == "system" and self._folds:
            turns = folded(turns)
        if self._facts.unicode_form == "NFC":
            turns = [turn | {"content": unicodedata.normalize("NFC", turn["content"])} for turn in turns]
        quotes: dict[str, str] = {}
        taken = "".join([self._facts.template, *(turn["content"] for turn in turns)])
        for turn in turns:
            turn["content"] = self._facts.markup.quote(turn["content"], quotes, taken)
        text = self._rendered(turns, thinking)
        for number, turn in enumerate(turns, start=1):
            if turn["content"].strip() not in text:
                raise UnfitConversationError(
                    "left_out_by_template",
                    f"the chat template leaves out or changes turn {number}, of the role {turn['role']}: change its "
                    "turns, or for a system turn set system_role: fold in the model's entry",
                )
        if not thinking and HARMONY[0] in self._facts.template and not text.endswith(FINAL_CHANNEL):
            text += FINAL_CHANNEL
        text += answer_prefix
        quotes = {mark: markup for mark, markup in quotes.items() if mark in text}
        tokens = self._tokens(text, quotes)
        added = self._beginning if tokens[: len(self._beginning)] != self._beginning else []
        read = _unquoted(text, quotes)
        key = f"{text}\n{json.dumps([quotes, added], ensure_ascii=False)}" if quotes or added else read
        return GgufPrompt(read, added + tokens, key)

    @cached_property
    def _folds(self) -> bool:
        if self._system_role != "auto":
            return self._system_role == "fold"
        # Where this is false, llama.cpp would fold by itself, and with one line break where we were trained with two.
        return not self._answer("/props", {})["chat_template_caps"]["supports_system_role"]

    def _rendered(self, turns: Sequence[Mapping[str, str]], thinking: bool) -> str:
        options = {"enable_thinking": thinking, "thinking": thinking, "date_string": DATE_STRING}
        response = self._ask("/apply-template", {"messages": turns, "chat_template_kwargs": options})
        if response.status_code == 200:
            return str(response.json()["prompt"])
        said = _COMPLAINT.search(response.text)
        raise UnfitConversationError(
            "refused_by_template",
            f"the chat template in the file refuses the conversation ({', '.join(turn['role'] for turn in turns)}): "
            f"{said['words'] if said else response.text[:300]}; change its turns",
        )

    def _tokens(self, text: str, quotes: Mapping[str, str]) -> list[int]:
        """Token ids of a rendered text, in which the characters of `quotes` stand for strings that are mere text."""
        found: list[int] = []
        done = 0
        for start, end in self._stretches(text, quotes):
            said = _unquoted(text[start:end], quotes)
            found += self._tokenized(text[done:start]) + self._as_text(said)
            done = end
        return found + self._tokenized(text[done:])

    def _stretches(self, text: str, quotes: Mapping[str, str]) -> list[tuple[int, int]]:
        """From one of the template's markup to the next: those stretches that hold a quoted string."""
        if not any(mark in text for mark in quotes):
            return []
        assert self._facts.markup.pattern is not None  # else nothing were quoted
        places = [0]
        for match in self._facts.markup.pattern.finditer(text):
            places += [match.start(), match.end()]
        between = zip(places[::2], [*places[1::2], len(text)], strict=True)
        return [(start, end) for start, end in between if any(mark in text[start:end] for mark in quotes)]

    def _as_text(self, text: str) -> list[int]:
        """Token ids of a text in which no string is markup."""
        places = [0]
        for match in self._facts.in_text.finditer(text) if self._facts.in_text else []:
            # llama.cpp reads these strings as tokens whatever it is told. It never joins a letter and what ends such a
            # string (`>`), so that a text cut between them has the tokens of the whole.
            ending = re.search(r"(?<=\w)\W+\Z", match[0])
            places.append(match.start() + (ending.start() if ending else 1))
        places.append(len(text))
        found = []
        for start, end in pairwise(places):
            # In the middle of a text there is no blank to be put before; nothing joins a line break with what follows.
            before = "\n" if start and self._facts.space_prefix else ""
            tokens = self._tokenized(before + text[start:end], special=False)
            found += tokens[len(self._tokenized(before, special=False)) :]
        return found

    @cached_property
    def _beginning(self) -> list[int]:
        """What the vocabulary puts before every text; often one token, or none."""
        whole, bare = self._tokenized("a", add=True), self._tokenized("a")
        place = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
        return whole[:place]

    def _tokenized(self, text: str, *, special: bool = True, add: bool = False) -> list[int]:
        if not text:
            return []
        body = {"content": text, "add_special": add, "parse_special": special}
        return [int(token) for token in self._answer("/tokenize", body)["tokens"]]

    def _answer(self, path: str, body: dict[str, Any]) -> Any:
        response = self._ask(path, body)
        response.raise_for_status()
        return response.json()


def _unquoted(text: str, quotes: Mapping[str, str]) -> str:
    """The text with the strings that its quotes stand for."""
    table: dict[str, str | int | None] = {**quotes}
    return text.translate(str.maketrans(table))
