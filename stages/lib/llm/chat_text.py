"""From a `Prompt` to the text that a model reads, and from what it wrote to the reply.

Models that think before they answer mark it, each family in its own way (thinking.py). With `thinking: false`
in the model's entry, and wherever the beginning of the reply is fixed (answer_prefix, schema,
scoring), the prompt skips that part: by the template's own switch, or by opening the final channel.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from stages.lib.llm.protocol import GenerateRequest, Prompt, ScoreRequest
from stages.lib.replies.thinking import (
    FINAL_CHANNEL,
    after_thinking,
    final_channel,
    has_closing_mark,
    without_harmony_end,
)
from stages.lib.weights.models import ModelEntry

# Some templates (Llama 3, gpt-oss) print today's date: a prompt that changes overnight would be asked anew.
TODAY = datetime.date(2026, 1, 1)


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
    return prompt.system + prompt.text + prompt.answer_prefix


def render(tokenizer: Any, prompt: Prompt, thinking: bool) -> str:
    """The text to continue of a chat prompt; raises as `render_turns`."""
    return render_turns(tokenizer, messages(prompt), thinking) + prompt.answer_prefix


def render_turns(tokenizer: Any, turns: Sequence[Mapping[str, str]], thinking: bool) -> str:
    """The text of a conversation up to where the assistant answers, by the chat template of a Hugging Face tokenizer.

    Raises:
        ValueError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise ValueError(f"{tokenizer.name_or_path}: no chat template; it can be asked with chat=False alone")
    text = tokenizer.apply_chat_template(
        list(turns),
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=thinking,
        strftime_now=TODAY.strftime,
    )
    if "<|channel|>" in tokenizer.chat_template and not thinking:
        text += FINAL_CHANNEL
    return str(text)


def prompt_tokens(tokenizer: Any, turns: Sequence[Mapping[str, str]]) -> list[int]:
    """Token ids of a conversation up to where the assistant answers without thinking before.

    Raises:
        ValueError: the tokenizer has no chat template.
    """
    text = render_turns(tokenizer, turns, thinking=False)
    return list(tokenizer.encode(text, add_special_tokens=False))  # the template writes its special tokens itself


def visible(text: str, thinking: bool, template: str | None = None) -> str:
    """The reply without the thinking before it; empty when the thinking never ended.

    `thinking`: whether the model was let think; `template`: its chat template, which shows the marks that it writes
    (None: not known, as with a server). `text` holds special tokens where the model writes such marks.
    """
    if template is not None and "<|channel|>" in template:
        return final_channel(text) if "<|channel|>" in text else without_harmony_end(text)
    if template is None and text.rstrip().endswith("<|return|>") and "<|channel|>" not in text:  # harmony's own end
        text = without_harmony_end(text)
    if thinking or template is None or has_closing_mark(template):
        return after_thinking(text, opened=thinking)
    return text


def decode_after(tokenizer: Any, prompt: Sequence[int], tokens: Sequence[int], keep_special: bool = False) -> str:
    """The text of new tokens, decoded behind the prompt's last ones: some decoders drop a leading blank."""
    options = {"skip_special_tokens": not keep_special, "clean_up_tokenization_spaces": False}
    head = list(prompt[-4:])
    return str(tokenizer.decode([*head, *tokens], **options)[len(tokenizer.decode(head, **options)) :])


def first_stop(text: str, stop: tuple[str, ...]) -> int:
    """Where the earliest of the stop strings begins; -1 if none occurs."""
    return min((place for place in map(text.find, stop) if place >= 0), default=-1)
