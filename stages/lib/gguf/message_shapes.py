"""Conversations of every shape that a chat template has to get through, and how two readings of them compare."""

from typing import Any

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import encode
from stages.lib.conversations.rendering import render, unicode_form
from stages.lib.conversations.turns import UnfitConversationError
from stages.lib.core.records import Message
from stages.lib.gguf.llama_runtime import LlamaRuntime

UNICODE = "naïve – 漢字 ▁ \u200b 👩\u200d👩\u200d👧 \u202eעברית\u202c ½ \ufeff 𝔘 \t\u00a0end"


def message_shapes(special: str) -> dict[str, list[Message]]:
    """Name -> conversation that ends with the user's turn; `special`: the text of a special token."""
    user = {"role": "user", "content": "How many adapters can be loaded at once?"}
    system = {"role": "system", "content": "Answer briefly."}
    reply = {"role": "assistant", "content": "As many as memory holds."}

    def said(content: str) -> Message:
        return {"role": "user", "content": content}

    return {
        "user": [user],
        "system": [system, user],
        "empty_system": [{"role": "system", "content": ""}, user],
        "multi_turn": [user, reply, said("And at 4 bits?")],
        "system_multi_turn": [system, user, reply, said("Why?"), reply, said("Thanks!")],
        "empty_user": [said("")],
        "blanks_only": [said("  \n ")],
        "empty_assistant": [user, {"role": "assistant", "content": ""}, user],
        "leading_and_trailing_blanks": [said("  \n indented\r\n\r\n  code()\t\n\n")],
        "numbers": [said("In 2024 1234567.89 > 3,000 and x[10]=0x1F")],
        "unicode": [said(UNICODE)],
        "decomposed_unicode": [said("cafe\u0301 A\u030a \u1100\u1161")],
        "special_token_inside": [said(f"What does {special} mean, and{special}{special}this <s>[INST] <|system|>?")],
        "template_syntax_inside": [said("{{ messages }} {% if x %} {# note #} \\n \"quoted\" 'single'")],
    }


def template_faults(tokenizer: Any, fmt: ChatFormat, runtime: LlamaRuntime) -> dict[str, str]:
    """Shape -> how the runtime's tokens, asked as any client would, differ from what is trained and asked.

    A shape that is refused on our side is skipped: no tokens are right there, and llama.cpp is more lenient.
    """
    end = tokenizer.eos_token or tokenizer.pad_token or "</s>"
    faults = {}
    for name, messages in message_shapes(end).items():
        try:
            expected = encode(tokenizer, render(tokenizer, messages, fmt, generation_prompt=True, where=name))
        except UnfitConversationError:
            continue
        text = runtime.render(messages)
        if text is None:
            faults[name] = "refused by llama.cpp alone"
            continue
        fault = first_difference(expected, runtime.tokens(text), tokenizer)
        if fault:
            faults[name] = fault
    return faults


def explained_shapes(tokenizer: Any) -> dict[str, str]:
    """Shapes that a server of llama.cpp cannot read as the model was trained -> why; they are reported, not refused."""
    shapes = {
        "special_token_inside": "a server of llama.cpp reads markup in a message as tokens; it is trained as text, and "
        "llmill's own chat sends token ids"
    }
    form = unicode_form(tokenizer)
    if form:
        shapes["decomposed_unicode"] = (
            f"the tokenizer brings texts into {form}, llama.cpp reads them as they stand; llmill's own chat "
            "brings them into it before"
        )
    return shapes


def first_difference(expected: list[int], found: list[int], tokenizer: Any) -> str:
    """Where two token lists part; empty: nowhere."""
    if expected == found:
        return ""
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found))
    )
    theirs, ours = (tokenizer.convert_ids_to_tokens(ids[at : at + 4]) for ids in (expected, found))
    return f"from token {at} on: {theirs} by transformers, {ours} by llama.cpp"
