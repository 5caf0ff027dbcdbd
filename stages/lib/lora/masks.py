"""Which tokens of a conversation are learned: the assistant's words and the end of its turn.

TRL's `assistant_only_loss` needs {% generation %} in the chat template, which most templates lack. Here the template
stays as it is: it is rendered with and without each assistant turn, and what the turn adds behind the generation
prompt is the assistant's. The token ids are exactly those of the tokenizer's own `apply_chat_template`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from stages.lib.core.records import Message

IGNORED = -100  # the label of a token that is not learned (torch's cross_entropy)


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


def render_chat(tokenizer: Any, messages: Sequence[Message], where: str, prompt: bool = False) -> str:
    """The conversation as the chat template writes it; `prompt`: followed by the assistant's generation prompt.

    Raises:
        ValueError: there is no chat template, or it refuses the conversation.
    """
    from jinja2.exceptions import TemplateError

    if not tokenizer.chat_template:
        raise ValueError(
            "the tokenizer has no chat template: the base must be a chat model, or its directory needs a "
            "chat_template.jinja"
        )
    try:
        text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt)
    except (TemplateError, TypeError) as error:
        raise ValueError(f"{where}: the chat template refuses the conversation: {error}") from error
    return text


def encode_conversation(tokenizer: Any, messages: Sequence[Message], sample_id: str) -> MaskedChat:
    """Token ids and labels of a conversation.

    Raises:
        ValueError: no assistant turn, or a template that leaves it out or rewrites what stands before it.
    """
    if not any(message["role"] == "assistant" for message in messages):
        raise ValueError(f"{sample_id}: no assistant turn; there are {[message['role'] for message in messages]}")
    text = render_chat(tokenizer, messages, sample_id)
    spans = [
        _assistant_span(tokenizer, messages, i, text, sample_id)
        for i, message in enumerate(messages)
        if message["role"] == "assistant"
    ]
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    labels = [IGNORED] * len(ids)
    special = set(tokenizer.all_special_ids)
    for start, end in spans:
        # A token that began in the prompt is not the assistant's, even where it reaches into its words.
        inside = [k for k, (low, high) in enumerate(offsets) if start <= low < end and high > low]
        for k in _without_tail(tokenizer, ids, inside, special):
            labels[k] = ids[k]
    return MaskedChat(sample_id, ids, labels)


def supervises_end(sample: MaskedChat, ends: Collection[int]) -> bool:
    """Whether an end of turn is among what is learned."""
    return any(label in ends for label in sample.labels)


def _assistant_span(tokenizer: Any, messages: Sequence[Message], index: int, text: str, where: str) -> tuple[int, int]:
    """Where the characters of one assistant turn are, its end of turn included, in the rendered conversation."""
    before = render_chat(tokenizer, messages[:index], where, prompt=True) if index else ""
    through = render_chat(tokenizer, messages[: index + 1], where)
    words = messages[index]["content"].strip()
    if words not in through:
        raise ValueError(
            f"{where}: the chat template has no assistant turn: what it writes lacks the assistant's words {words!r}"
        )
    if not through.startswith(before):
        raise ValueError(
            f"{where}: the chat template's generation prompt does not begin the assistant's turn: "
            f"{_first_difference(before, through)}"
        )
    if not text.startswith(through):
        raise ValueError(
            f"{where}: the chat template rewrites turn {index + 1} when others follow "
            f"({_first_difference(through, text)}): split the conversation, one assistant turn a sample"
        )
    if words not in through[len(before) :]:
        raise ValueError(f"{where}: the chat template puts the assistant's words before its generation prompt")
    return len(before), len(through)


def _without_tail(tokenizer: Any, ids: Sequence[int], inside: list[int], special: set[int]) -> list[int]:
    """Without the blanks that the template writes behind the end of turn: generation has stopped by then."""
    ends = [place for place, k in enumerate(inside) if ids[k] in special]
    if ends and not tokenizer.decode([ids[k] for k in inside[ends[-1] + 1 :]]).strip():
        return inside[: ends[-1] + 1]
    return inside


def _first_difference(expected: str, found: str) -> str:
    place = next((i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), len(found))
    return f"expected {expected[place : place + 40]!r}, found {found[place : place + 40]!r}"
