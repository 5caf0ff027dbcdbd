"""From requests to token ids with a Hugging Face tokenizer, for the engines that take token ids."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from stages.lib.llm import chat_text
from stages.lib.llm.protocol import GenerateRequest, Score, ScoreRequest
from stages.lib.replies.thinking import has_closing_mark
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
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.directory, trust_remote_code=False)

    @cached_property
    def template(self) -> str:
        """The chat template; empty if there is none."""
        return str(self.tokenizer.chat_template or "")

    @cached_property
    def marks_are_special(self) -> bool:
        """Whether the model marks its thinking by special tokens: then these belong to its text."""
        special = [str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        return "<|channel|>" in self.template or any(map(has_closing_mark, special))

    def render(self, request: GenerateRequest | ScoreRequest) -> str:
        """The text that the model reads."""
        if not request.prompt.chat:
            return chat_text.plain(request.prompt)
        return chat_text.render(self.tokenizer, request.prompt, chat_text.may_think(self.entry, request))

    def encode(self, text: str, special: bool = False) -> Tokens:
        """Token ids of a text; `special` puts the tokenizer's own beginning before it."""
        return cast(Tokens, self.tokenizer.encode(text, add_special_tokens=special))

    def tokens(self, request: GenerateRequest | ScoreRequest) -> Tokens:
        """Token ids of what the model reads. A chat template writes its special tokens itself."""
        return self.encode(self.render(request), special=not request.prompt.chat)

    def choices(self, requests: Sequence[ScoreRequest]) -> list[list[Tokens]]:
        """Token ids of each choice of each request, tokenized apart from the prompt."""
        known = {choice: self.encode(choice) for request in requests for choice in request.choices}
        return [[known[choice] for choice in request.choices] for request in requests]

    def reply(self, prompt: Tokens, tokens: Tokens, request: GenerateRequest) -> str:
        """The text of new tokens, without what was thought before it."""
        text = chat_text.decode_after(self.tokenizer, prompt, tokens, keep_special=self.marks_are_special)
        return self.visible(text, request)

    def visible(self, text: str, request: GenerateRequest) -> str:
        """A reply's text without what was thought before it."""
        template = self.template if request.prompt.chat else ""
        return chat_text.visible(text, chat_text.may_think(self.entry, request), template)


def misfits(prompts: Sequence[Tokens], choices: Sequence[Sequence[Tokens]], limit: int) -> dict[int, Score]:
    """Failed scores of the requests, by place, whose prompt has no token or does not fit with its choices."""
    found = {}
    for i, (prompt, options) in enumerate(zip(prompts, choices, strict=True)):
        longest = len(prompt) + max(map(len, options))
        if longest > limit or not prompt:
            size = f"{longest} tokens with the longest choice, {len(prompt)} of them the prompt"
            found[i] = Score.failed(f"{size}: the model takes 1 to {limit}")
    return found
