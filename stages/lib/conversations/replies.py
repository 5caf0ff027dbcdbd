"""From the tokens that a model wrote to what it said: without special tokens, and without what it thought before."""

from collections.abc import Sequence
from typing import Any

from stages.lib.conversations.markup import template_text
from stages.lib.replies.thinking import has_closing_mark, visible


def reply_text(tokenizer: Any, prompt: Sequence[int], tokens: Sequence[int], thinking: bool) -> str:
    """What a reply says to the person; `thinking`: whether the model was let think before it. Empty: it never ended."""
    text = decode_after(tokenizer, prompt, tokens, keep_special=marks_are_special(tokenizer))
    return visible(text, thinking, template_text(tokenizer))


def decode_after(tokenizer: Any, prompt: Sequence[int], tokens: Sequence[int], keep_special: bool = False) -> str:
    """The text of new tokens, decoded behind the prompt's last ones: some decoders drop a leading blank."""
    options = {"skip_special_tokens": not keep_special, "clean_up_tokenization_spaces": False}
    head = list(prompt[-4:])
    return str(tokenizer.decode([*head, *tokens], **options)[len(tokenizer.decode(head, **options)) :])


def marks_are_special(tokenizer: Any) -> bool:
    """Whether the model marks its thinking by special tokens: then these belong to its text."""
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return "<|channel|>" in template_text(tokenizer) or any(map(has_closing_mark, special))
