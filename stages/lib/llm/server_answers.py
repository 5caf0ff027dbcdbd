"""What a choice of a server's answer holds: the text, how it ended, why there is none, the likeliest tokens.

A complete reply counts whatever its end is called (stop, eos, end_turn, stop_sequence, null, ...).
"""

import math
from typing import Any, Literal

CUT_OFF = ("length", "max_tokens", "model_length", "max_output_tokens", "max_length")  # in lower case
FILTERED = (
    "content_filter",
    "content_filtered",
    "safety",
    "refusal",
    "recitation",
    "blocklist",
    "prohibited_content",
    "spii",
    "guardrail_intervened",
)
BROKEN_OFF = ("error", "abort", "aborted", "cancelled", "canceled", "insufficient_system_resource", "network_error")
REASONING = ("reasoning_content", "reasoning", "thinking")  # where servers put what a model thought


def ended_by(finish_reason: Any) -> Literal["stop", "length", "filter", "error"]:
    """What a finish reason means."""
    name = str(finish_reason).lower()
    if name in CUT_OFF:
        return "length"
    if name in FILTERED:
        return "filter"
    return "error" if name in BROKEN_OFF else "stop"


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or a list of parts, of which those that are text count."""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and part.get("type") in ("text", "output_text")]
        content = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    # JSON can spell half a surrogate pair, which no file can hold.
    return content.encode(errors="replace").decode() if isinstance(content, str) else ""


def has_reasoning(message: dict[str, Any]) -> bool:
    """Whether a message holds thoughts, beside its content or in it."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    types = [part.get("type") for part in parts if isinstance(part, dict)]
    marked = isinstance(content, str) and ("<think" in content or "<|channel|>" in content)
    return marked or any(message.get(name) for name in REASONING) or any(t in ("thinking", "reasoning") for t in types)


def no_text(message: dict[str, Any], text: str, end: str, finish_reason: Any) -> str:
    """Why a message without a usable text has none; "" where it has one."""
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal.strip() and not text.strip():
        return f"the model refuses: {refusal.strip()[:200]}"
    if end in ("filter", "error"):
        return f"the server ended the reply with {finish_reason!r}"
    if text.strip():
        return ""
    if has_reasoning(message):
        if end == "length":
            return "the reply was cut off while the model was thinking: raise max_new_tokens, or turn thinking off"
        return (
            "the server put everything into the reasoning and nothing into the answer: is its reasoning parser right?"
        )
    return f"the reply is empty (finish_reason {finish_reason!r})"


def count(usage: dict[str, Any], name: str) -> int:
    """A number of tokens of the usage; 0 where it is not told."""
    value = usage.get(name)
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


def likeliest(choice: dict[str, Any]) -> dict[str, float]:
    """Token -> log-probability of the first position of an answer, in either of the API's two shapes; {} without."""
    try:
        logprobs = choice.get("logprobs") or {}
        if "content" in logprobs:
            first = (logprobs["content"] or [{}])[0]
            listed = [(entry["token"], entry["logprob"]) for entry in first.get("top_logprobs") or []]
        else:
            listed = list(((logprobs.get("top_logprobs") or [{}])[0] or {}).items())
        found = {str(token): float(logprob) for token, logprob in reversed(listed)}
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return {}
    return {token: logprob for token, logprob in found.items() if logprob <= 1e-3}  # no NaN, and a probability


def choice_logprobs(listed: dict[str, float], choices: tuple[str, ...]) -> tuple[float, ...] | None:
    """log p of each choice by the likeliest tokens, blanks around a token aside; None if none of them is listed.

    A choice that is not listed has at most the probability of the last listed token, and at most what the others leave.
    """
    told = {choice: [logprob for token, logprob in listed.items() if _same(token, choice)] for choice in choices}
    if not any(told.values()):
        return None
    left = 1.0 - math.fsum(math.exp(logprob) for logprob in listed.values())
    bound = min(*listed.values(), math.log(max(left, 1e-12)))
    return tuple(round(_together(told[choice]) if told[choice] else bound, 5) for choice in choices)


def _same(token: str, choice: str) -> bool:
    # A server's chat template may strip the blank that the answer's beginning ends with; then it is in the token.
    return token == choice or token.strip() == choice.strip()


def _together(logprobs: list[float]) -> float:
    return logprobs[0] if len(logprobs) == 1 else math.log(math.fsum(map(math.exp, logprobs)))
