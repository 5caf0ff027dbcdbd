"""TRL's trainers with prompts that become token ids as everywhere else, not by TRL's own call of the chat template.

TRL's method begins with an underscore, so its version is pinned, as in shared_prompt_trainer.
"""

from collections.abc import Sequence
from typing import Any

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import encode
from stages.lib.conversations.rendering import render
from stages.lib.core.records import Message


def with_our_prompts(trainer_class: Any, fmt: ChatFormat) -> Any:
    """The trainer, TRL's or one made from it, with prompts written as `fmt` says."""

    class OurPrompts(trainer_class):  # type: ignore[misc]
        def _tokenize_prompts(
            self, prompts: Sequence[Sequence[Message]]
        ) -> tuple[list[list[int]], None, dict[str, Any]]:
            tokenizer = self.processing_class
            ids = [encode(tokenizer, render(tokenizer, prompt, fmt, generation_prompt=True)) for prompt in prompts]
            return ids, None, {}  # no images

    assert hasattr(trainer_class, "_tokenize_prompts"), f"{trainer_class}: TRL has another version than the pinned one"
    return OurPrompts
