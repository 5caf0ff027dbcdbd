"""The held-out text that the release gate reads, and the conversations that llama.cpp replies to."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import encode
from stages.lib.conversations.rendering import Rendered, plain, render, unicode_form
from stages.lib.conversations.turns import UnfitConversationError
from stages.lib.core.records import Record

SHORT_PROMPTS = ("Say yes.", "What is the capital of France? Answer with one word.")  # a chat model's reply ends soon


@dataclass(frozen=True)
class Text:
    """A held-out text."""

    text: str  # rendered by the chat template where there is one
    tokens: list[int]  # as it is trained
    plain: bool  # a server of llama.cpp can read it so: no markup that is mere text, no other Unicode form


@dataclass(frozen=True)
class HeldOut:
    """What the gate reads."""

    texts: list[Text]
    prompts: list[list[int]]  # tokens of conversations without their last reply
    unfit: int  # conversations that cannot be written as the model's turns


def read_held_out(
    records: Sequence[Record], tokenizer: Any, fmt: ChatFormat, where: str, *, prompts: int, beginning: int
) -> HeldOut:
    """Texts of records with `messages` or `text`, and prompts: two short ones and the `prompts` shortest conversations.

    Without a chat template the prompts are the first `beginning` tokens of texts. `fmt`: of the model's entry;
    `where` names the file.

    Raises:
        ValueError: a record has neither messages nor a text, or no conversation can be written as the model's turns.
    """
    texts: list[Text] = []
    asked: list[tuple[int, list[int]]] = []  # characters, tokens
    first_refusal = ""
    unfit = 0

    def read(rendered: Rendered, raw: str) -> Text:
        form = unicode_form(tokenizer)
        normal = form is None or unicodedata.is_normalized(form, raw)
        return Text(rendered.text, encode(tokenizer, rendered), plain=normal and not rendered.quotes)

    for i, record in enumerate(records):
        messages, name = record.get("messages"), f"{where}: record {i + 1}"
        if messages and tokenizer.chat_template:
            turns = messages[:-1] if messages[-1]["role"] == "assistant" else messages
            try:
                whole = render(tokenizer, messages, fmt, generation_prompt=False, where=name)
                prompt = render(tokenizer, turns, fmt, generation_prompt=True, where=name)
            except UnfitConversationError as error:
                unfit, first_refusal = unfit + 1, first_refusal or str(error)
                continue
            texts.append(read(whole, "".join(turn["content"] for turn in messages)))
            asked.append((sum(len(turn["content"]) for turn in turns), encode(tokenizer, prompt)))
        elif isinstance(record.get("text"), str):
            texts.append(read(plain(tokenizer, record["text"]), record["text"]))
        else:
            raise ValueError(f"{name} has neither messages nor a text")
    if not texts and first_refusal:
        raise ValueError(f"no conversation can be written as the model's turns: {first_refusal}")
    if not tokenizer.chat_template:
        return HeldOut(texts, [text.tokens[:beginning] for text in texts[:prompts]], unfit)
    short = [
        encode(tokenizer, render(tokenizer, [{"role": "user", "content": prompt}], fmt, generation_prompt=True))
        for prompt in SHORT_PROMPTS
    ]
    by_length = sorted(asked, key=lambda prompt: prompt[0])
    return HeldOut(texts, short + [tokens for _, tokens in by_length[:prompts]], unfit)
