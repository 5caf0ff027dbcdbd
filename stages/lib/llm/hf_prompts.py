"""From requests to token ids with a Hugging Face tokenizer, for the engines that take token ids."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import encode, encode_text
from stages.lib.conversations.markup import template_text
from stages.lib.conversations.rendering import Rendered, continued, plain, render
from stages.lib.conversations.replies import decode_after, marks_are_special
from stages.lib.llm import chat_text
from stages.lib.llm.protocol import GenerateRequest, Score, ScoreRequest
from stages.lib.replies.thinking import visible
from stages.lib.weights.base import read_tokenizer
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import ModelEntry

Tokens = list[int]


class HuggingFacePrompts:
    """The tokenizer and chat template of an entry; they load when they are first needed."""

    def __init__(self, entry: ModelEntry) -> None:
        self.entry = entry

    @cached_property
    def directory(self) -> Path:
        """Where config, tokenizer and weights are; their sha256 is checked here."""
        return huggingface_directory(self.entry)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's own tokenizer; no code that comes with a model is run."""
        return read_tokenizer(self.directory)

    @cached_property
    def marks_are_special(self) -> bool:
        """Whether the model marks its thinking by special tokens: then these belong to its text."""
        return marks_are_special(self.tokenizer)

    def rendered(self, request: GenerateRequest | ScoreRequest) -> Rendered:
        """What the model reads.

        Raises:
            ValueError: a chat prompt without a chat template, or one that refuses it.
        """
        prompt = request.prompt
        if not prompt.chat:
            before, after = prompt.frame
            return continued(
                self.tokenizer, plain(self.tokenizer, prompt.system + prompt.text, before, after), prompt.answer_prefix
            )
        fmt = replace(ChatFormat.of(self.entry), thinking=chat_text.may_think(self.entry, request))
        asked = render(self.tokenizer, chat_text.messages(prompt), fmt, generation_prompt=True, where=self.entry.source)
        return continued(self.tokenizer, asked, prompt.answer_prefix)

    def render(self, request: GenerateRequest | ScoreRequest) -> str:
        """The text that the model reads; another one where its tokens are others."""
        return self.rendered(request).key

    def tokens(self, request: GenerateRequest | ScoreRequest) -> Tokens:
        """Token ids of what the model reads."""
        return encode(self.tokenizer, self.rendered(request))

    def choices(self, requests: Sequence[ScoreRequest]) -> list[list[Tokens]]:
        """Token ids of each choice of each request, tokenized apart from the prompt."""
        known = {choice: encode_text(self.tokenizer, choice) for request in requests for choice in request.choices}
        return [[known[choice] for choice in request.choices] for request in requests]

    def reply(self, prompt: Tokens, tokens: Tokens, request: GenerateRequest) -> str:
        """The text of new tokens, without what was thought before it."""
        text = decode_after(self.tokenizer, prompt, tokens, keep_special=self.marks_are_special)
        return self.visible(text, request)

    def visible(self, text: str, request: GenerateRequest) -> str:
        """A reply's text without what was thought before it."""
        template = template_text(self.tokenizer) if request.prompt.chat else ""
        return visible(text, chat_text.may_think(self.entry, request), template)


def misfits(prompts: Sequence[Tokens], choices: Sequence[Sequence[Tokens]], limit: int) -> dict[int, Score]:
    """Failed scores of the requests, by place, whose prompt has no token or does not fit with its choices."""
    found = {}
    for i, (prompt, options) in enumerate(zip(prompts, choices, strict=True)):
        longest = len(prompt) + max(map(len, options))
        if longest > limit or not prompt:
            size = f"{longest} tokens with the longest choice, {len(prompt)} of them the prompt"
            found[i] = Score.failed(f"{size}: the model takes 1 to {limit}")
    return found
