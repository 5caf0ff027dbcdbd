"""A conversation as its model's chat template writes it: the one place where a template is called.

All alike for training, prompts, evaluation and the release gate: a fixed date, the entry's thinking switch, a system
turn that the template has no place for at the head of the first user turn, and contents that are text whatever they
hold. A template's complaint becomes an error that names the conversation and says what to do.
"""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stages.lib.conversations.chat_format import DATE_STRING, TODAY, ChatFormat
from stages.lib.conversations.markup import Markup, markup_of, template_text
from stages.lib.conversations.turns import UnfitConversationError, check_turns, folded, marks_of_thinking, with_thinking
from stages.lib.replies.thinking import FINAL_CHANNEL

Turns = Sequence[Mapping[str, Any]]  # {"role", "content"}; an assistant's may have "reasoning_content"
SYSTEM_PROBE, USER_PROBE, REPLY_PROBE = "qsystemq", "quserq", "qreplyq"


@dataclass(frozen=True)
class Rendered:
    """A text of markup and contents; a character of `quotes` in `marked` stands for a string that is mere text."""

    marked: str
    quotes: Mapping[str, str]

    @property
    def text(self) -> str:
        """The text as a person reads it."""
        return self.unquoted(self.marked)

    def unquoted(self, part: str) -> str:
        """A part of `marked` as a person reads it."""
        return part.translate({ord(mark): markup for mark, markup in self.quotes.items()})

    @property
    def key(self) -> str:
        """Differs where token ids differ: as the text, and which of its strings are no markup."""
        if not self.quotes:
            return self.marked
        return f"{self.marked}\n{json.dumps(dict(self.quotes), ensure_ascii=False)}"


def render(
    tokenizer: Any,
    messages: Turns,
    fmt: ChatFormat = ChatFormat(),  # noqa: B008  # frozen
    *,
    generation_prompt: bool,
    where: str = "the conversation",
) -> Rendered:
    """The conversation's text; `generation_prompt`: up to where the assistant's answer begins.

    Args:
        tokenizer: of transformers, with a chat template.
        messages: its turns.
        fmt: how the model's conversations are written.
        generation_prompt: whether the assistant is to answer.
        where: names the conversation in errors.

    Raises:
        UnfitConversationError: a turn without text, a template that refuses the conversation or leaves a turn out.
        ValueError: there is no chat template.
    """
    if not template_text(tokenizer):
        raise ValueError(
            f"{where}: the tokenizer {getattr(tokenizer, 'name_or_path', '')!r} has no chat template: the model must "
            "be a chat model, or its directory needs a chat_template.jinja"
        )
    form = unicode_form(tokenizer)
    turns = with_thinking(check_turns(messages, where), template_text(tokenizer), fmt.thinking)
    turns = fitted(tokenizer, turns, fmt, where)
    if form:
        turns = [{name: unicodedata.normalize(form, value) for name, value in turn.items()} for turn in turns]
    quotes: dict[str, str] = {}
    quoted = _quoted(markup_of(tokenizer), turns, quotes, template_text(tokenizer))
    written = [_with_marks(turn, template_text(tokenizer)) for turn in quoted]
    text = _apply(tokenizer, written, fmt, generation_prompt, where)
    if form:
        text = unicodedata.normalize(form, text)
    _check_complete(text, quoted, where)
    if generation_prompt and not fmt.thinking and "<|channel|>" in template_text(tokenizer):
        text += FINAL_CHANNEL
    used = {mark: markup for mark, markup in quotes.items() if mark in text}
    return Rendered(text, used)


def plain(tokenizer: Any, text: str, before: str = "", after: str = "") -> Rendered:
    """A text without a chat template, between `before` and `after`, in which markup counts."""
    form = unicode_form(tokenizer)
    if form:
        text = unicodedata.normalize(form, text)
    quotes: dict[str, str] = {}
    quoted = markup_of(tokenizer).quote(text, quotes, before + text + after)
    return Rendered(before + quoted + after, quotes)


def continued(tokenizer: Any, rendered: Rendered, text: str) -> Rendered:
    """The text and what follows it, such as the beginning of the answer, in which markup is text, too."""
    if not text:
        return rendered
    form = unicode_form(tokenizer)
    if form:
        text = unicodedata.normalize(form, text)
    quotes = dict(rendered.quotes)
    quoted = markup_of(tokenizer).quote(text, quotes, rendered.marked + text)
    return Rendered(rendered.marked + quoted, quotes)


def fitted(tokenizer: Any, turns: Turns, fmt: ChatFormat, where: str) -> list[dict[str, Any]]:
    """The turns, with a system turn that the template has no place for at the head of the first user turn.

    Raises:
        UnfitConversationError: no user turn follows it.
    """
    if any(turn["role"] == "system" for turn in turns) and folds(tokenizer, fmt):
        return folded(turns, where)
    return [dict(turn) for turn in turns]


def folds(tokenizer: Any, fmt: ChatFormat) -> bool:
    """Whether a system turn goes to the head of the first user turn."""
    if fmt.system_role != "auto":
        return fmt.system_role == "fold"
    asked = [{"role": "system", "content": SYSTEM_PROBE}, {"role": "user", "content": USER_PROBE}]
    answered = [*asked, {"role": "assistant", "content": REPLY_PROBE}]
    try:
        # Mistral-Nemo's template writes a system turn only where the last turn is the user's: training would lack it.
        texts = [_apply(tokenizer, asked, fmt, True, "a probe"), _apply(tokenizer, answered, fmt, False, "a probe")]
    except UnfitConversationError:
        return True
    return not all(SYSTEM_PROBE in text for text in texts)


def unicode_form(tokenizer: Any) -> Literal["NFC", "NFKC", "NFD", "NFKD"] | None:
    """The form that the tokenizer brings every text into, before anything else; None: it leaves texts as they are."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    name = type(backend.normalizer).__name__ if backend is not None else ""
    return name if name in ("NFC", "NFKC", "NFD", "NFKD") else None  # type: ignore[return-value]


def _quoted(
    markup: Markup, turns: Sequence[Mapping[str, str]], quotes: dict[str, str], template: str
) -> list[dict[str, str]]:
    taken = "".join([template, *(value for turn in turns for value in turn.values())])
    return [
        {name: value if name == "role" else markup.quote(value, quotes, taken) for name, value in turn.items()}
        for turn in turns
    ]


def _with_marks(turn: Mapping[str, str], template: str) -> dict[str, str]:
    """The turn with its thoughts where the template reads them: under its own key, or between marks in the content."""
    written = dict(turn)
    thought = written.get("reasoning_content", "")
    marks = marks_of_thinking(template)
    if thought and "reasoning_content" not in template:
        if "message.thinking" in template:  # gpt-oss
            written["thinking"] = thought
        elif marks:
            written["content"] = f"{marks[0]}\n{thought}\n{marks[1]}\n\n{turn['content']}"
    return written


def _apply(tokenizer: Any, turns: Sequence[Mapping[str, str]], fmt: ChatFormat, prompt: bool, where: str) -> str:
    from jinja2.exceptions import TemplateError

    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(turn) for turn in turns],
                tokenize=False,
                add_generation_prompt=prompt,
                enable_thinking=fmt.thinking,
                thinking=fmt.thinking,
                date_string=DATE_STRING,
                strftime_now=TODAY.strftime,
            )
        )
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
        roles = ", ".join(str(turn["role"]) for turn in turns)
        advice = "leave it out, or change its turns"
        if any(turn["role"] == "system" for turn in turns) and fmt.system_role == "template":
            advice = "where it has no system role, set system_role: fold in the model's entry"
        raise UnfitConversationError(
            "refused_by_template", f"{where}: the chat template refuses the conversation ({roles}): {error}; {advice}"
        ) from error


def _check_complete(text: str, turns: Sequence[Mapping[str, str]], where: str) -> None:
    """That each turn's words stand in the text, as often as turns have them."""
    words = [turn["content"].strip() for turn in turns]
    for i, turn in enumerate(turns):
        if words[i] and text.count(words[i]) < words.count(words[i]):
            raise UnfitConversationError(
                "left_out_by_template",
                f"{where}: the chat template leaves out or changes turn {i + 1}, of the role {turn['role']} "
                f"({words[i][:60]!r}): change its turns, or for a system turn set system_role: fold in the model's "
                "entry",
            )
