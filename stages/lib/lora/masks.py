"""Which tokens of a conversation are learned: the assistant's words and the end of its turn.

TRL's `assistant_only_loss` needs {% generation %} in the chat template, which most templates lack. Here the template
stays as it is: it is rendered with and without each assistant turn, and what the turn adds behind the generation
prompt, with which the model will be asked, is the assistant's. Text and token ids are those of lib/conversations, as
everywhere. Where a template writes a turn in another way once others follow it (Qwen3 drops what was thought, gpt-oss
ends the last turn with another token), the conversation becomes one sample an assistant turn, each as it is asked.
"""

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import encode_with_offsets
from stages.lib.conversations.markup import markup_of, template_text
from stages.lib.conversations.rendering import render, unicode_form
from stages.lib.conversations.turns import UnfitConversationError, split_thinking
from stages.lib.core.records import Message

IGNORED = -100  # the label of a token that is not learned (torch's cross_entropy)
PLACE = "\U0010fffd"  # stands for an answer, to see where the template writes it


@dataclass(frozen=True)
class MaskedChat:
    """A conversation as token ids; both lists have the same length."""

    id: str
    input_ids: list[int]
    labels: list[int]  # the token's id where it is learned, else IGNORED

    @property
    def supervised(self) -> int:
        """How many tokens are learned. The first token never is: nothing precedes it."""
        return sum(label != IGNORED for label in self.labels[1:])


class RewrittenTurnError(UnfitConversationError):
    """The template writes a turn in another way when others follow."""


def encode_samples(
    tokenizer: Any,
    messages: Sequence[Message],
    sample_id: str,
    fmt: ChatFormat = ChatFormat(),  # noqa: B008  # frozen
) -> list[MaskedChat]:
    """The samples of a conversation: one, or one an assistant turn where the template rewrites earlier turns.

    Raises:
        UnfitConversationError: as `encode_conversation`, but for such a template.
    """
    try:
        return [encode_conversation(tokenizer, messages, sample_id, fmt)]
    except RewrittenTurnError:
        ends = [i + 1 for i, message in enumerate(messages) if message["role"] == "assistant"]
        return [_encode(tokenizer, messages[:end], [end - 1], sample_id, fmt) for end in ends]


def encode_conversation(
    tokenizer: Any,
    messages: Sequence[Message],
    sample_id: str,
    fmt: ChatFormat = ChatFormat(),  # noqa: B008  # frozen
) -> MaskedChat:
    """Token ids and labels of a conversation, all of its assistant turns learned.

    Raises:
        UnfitConversationError: no assistant turn, an empty one, or a template that refuses the conversation, leaves a
            turn out or rewrites what stands before it.
    """
    return _encode(
        tokenizer,
        messages,
        [i for i, message in enumerate(messages) if message.get("role") == "assistant"],
        sample_id,
        fmt,
    )


def supervises_end(sample: MaskedChat, ends: Collection[int]) -> bool:
    """Whether an end of turn is among what is learned."""
    return any(label in ends for label in sample.labels)


def _encode(
    tokenizer: Any, messages: Sequence[Message], learned: Sequence[int], where: str, fmt: ChatFormat
) -> MaskedChat:
    if not learned:
        roles = [message.get("role") for message in messages]
        raise UnfitConversationError("no_assistant_turn", f"{where}: no assistant turn; there are {roles}")
    rendered = render(tokenizer, messages, fmt, generation_prompt=False, where=where)
    spans = [_assistant_span(tokenizer, messages, i, rendered.text, where=where, fmt=fmt) for i in learned]
    encoded = encode_with_offsets(tokenizer, rendered)
    labels = [IGNORED] * len(encoded.ids)
    marks = {*markup_of(tokenizer).ids.values(), *tokenizer.all_special_ids}
    for start, end in spans:
        # A token that began in the prompt is not the assistant's, even where it reaches into its words.
        inside = [k for k, (low, high) in enumerate(encoded.offsets) if start <= low < end and high > low]
        for k in _without_tail(tokenizer, encoded.ids, inside, marks):
            labels[k] = encoded.ids[k]
    return MaskedChat(where, encoded.ids, labels)


def _assistant_span(
    tokenizer: Any, messages: Sequence[Message], index: int, text: str, *, where: str, fmt: ChatFormat
) -> tuple[int, int]:
    """Where the characters of one assistant turn are, its end of turn included, in the conversation's text."""
    words = _words(tokenizer, messages[index]["content"])
    if not words:
        raise UnfitConversationError("empty_answer", f"{where}: turn {index + 1}, the assistant's, is empty")
    through = text
    if index + 1 < len(messages):
        through = render(tokenizer, messages[: index + 1], fmt, generation_prompt=False, where=where).text
    before = _before(tokenizer, messages, index, where, fmt)
    if not through.startswith(before):
        raise UnfitConversationError(
            "other_generation_prompt",
            f"{where}: the chat template's generation prompt does not begin the assistant's turn: "
            f"{_first_difference(before, through)}",
        )
    if not text.startswith(through):
        raise RewrittenTurnError(
            "rewritten_turn",
            f"{where}: the chat template rewrites turn {index + 1} when others follow "
            f"({_first_difference(through, text)}): split the conversation, one assistant turn a sample",
        )
    if words not in through[len(before) :]:
        raise UnfitConversationError(
            "other_generation_prompt",
            f"{where}: the chat template puts the assistant's words before its generation prompt",
        )
    return len(before), len(through)


def _before(tokenizer: Any, messages: Sequence[Message], index: int, where: str, fmt: ChatFormat) -> str:
    """What precedes the assistant's words: the prompt that asks for them; of a turn that nobody asked for, what the
    template writes before them (a default system turn), of which nothing is learned."""
    if any(message["role"] == "user" for message in messages[:index]):
        return render(tokenizer, messages[:index], fmt, generation_prompt=True, where=where).text
    probe = [*messages[:index], {"role": "assistant", "content": PLACE}]
    return render(tokenizer, probe, fmt, generation_prompt=False, where=where).text.partition(PLACE)[0]


def _words(tokenizer: Any, content: str) -> str:
    """An answer without what was thought before it, in the tokenizer's form of Unicode."""
    form = unicode_form(tokenizer)
    said = split_thinking(content, template_text(tokenizer))[1].strip()
    return unicodedata.normalize(form, said) if form else said


def _without_tail(tokenizer: Any, ids: Sequence[int], inside: list[int], marks: set[int]) -> list[int]:
    """Without the blanks that the template writes behind the end of turn: generation has stopped by then."""
    ends = [place for place, k in enumerate(inside) if ids[k] in marks]
    if ends and not tokenizer.decode([ids[k] for k in inside[ends[-1] + 1 :]]).strip():
        return inside[: ends[-1] + 1]
    return inside


def _first_difference(expected: str, found: str) -> str:
    place = next((i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), len(found))
    return f"expected {expected[place : place + 40]!r}, found {found[place : place + 40]!r}"
