"""What a `Prompt` says as turns or as a text, and whether the model may think before it answers.

Models that think before they answer mark it, each family in its own way (thinking.py). With `thinking: false`
in the model's entry, and wherever the beginning of the reply is fixed (answer_prefix, schema,
scoring), the prompt skips that part: by the template's own switch, or by opening the final channel.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import encode
from stages.lib.conversations.rendering import render
from stages.lib.llm.protocol import GenerateRequest, Prompt, ScoreRequest
from stages.lib.weights.models import ModelEntry


def may_think(entry: ModelEntry, request: GenerateRequest | ScoreRequest) -> bool:
    """Whether the model thinks before it answers this request."""
    fixed_start = isinstance(request, ScoreRequest) or request.schema is not None or request.prompt.answer_prefix != ""
    return entry.thinking and request.prompt.chat and not fixed_start


def messages(prompt: Prompt) -> list[dict[str, str]]:
    """The turns of a chat prompt."""
    turns = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return [*turns, {"role": "user", "content": prompt.text}]


def plain(prompt: Prompt) -> str:
    """The text to continue of a prompt without a chat template."""
    before, after = prompt.frame
    return before + prompt.system + prompt.text + after + prompt.answer_prefix


def prompt_tokens(
    tokenizer: Any,
    turns: Sequence[Mapping[str, str]],
    fmt: ChatFormat = ChatFormat(),  # noqa: B008  # frozen
) -> list[int]:
    """Token ids of a conversation up to where the assistant answers.

    Raises:
        ValueError: the tokenizer has no chat template, or it refuses the conversation.
    """
    return encode(tokenizer, render(tokenizer, turns, fmt, generation_prompt=True))


def first_stop(text: str, stop: tuple[str, ...]) -> int:
    """Where the earliest of the stop strings begins; -1 if none occurs."""
    return min((place for place in map(text.find, stop) if place >= 0), default=-1)
