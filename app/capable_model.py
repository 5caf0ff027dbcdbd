"""What a model that is large enough does beside answering: it rewrites a follow-up, and chooses what is cited.

Both fall back to what is done without it (answering/follow_up.py, retrieval/quote_ranking.py) where its reply is
unusable: it chooses among numbered sentences by their numbers, so that no citation can be made up.
"""

import json
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from stages.lib.answering.follow_up import searched_question
from stages.lib.chat.events import Finished, Piece, Recalled, Stream
from stages.lib.core.params import fill
from stages.lib.core.records import Message
from stages.lib.passages.passages import Quote, readable

LAST_TURNS = 6  # messages of the conversation that a follow-up is rewritten with
MOST_QUESTION_TOKENS, MOST_QUESTION_CHARS = 64, 400
MOST_NUMBERED = 20  # sentences to choose from


@dataclass(frozen=True, kw_only=True)
class CapableWording:
    """The texts of prompts.yaml that such a model is asked with."""

    rewrite: str  # {conversation} and {question}
    choose: str  # {question}, {answer} and {sentences}


def rewritten_question(
    question: str, history: Sequence[Message], stream: Stream, wording: CapableWording, stop: threading.Event | None
) -> str:
    """The question as it can be searched for without the conversation."""
    if not history:
        return question
    said = "\n".join(f"{turn['role']}: {turn['content']}" for turn in history[-LAST_TURNS:])
    prompt = fill(wording.rewrite, conversation=said, question=question)
    reply = _reply(stream, prompt, MOST_QUESTION_TOKENS, None, stop)
    lines = [line.strip() for line in (reply or "").splitlines() if line.strip()]
    if len(lines) != 1 or len(lines[0]) > MOST_QUESTION_CHARS:
        return searched_question(question, history)
    return lines[0]


def chosen_quotes(
    question: str,
    answer: str,
    ranked: Sequence[Quote],
    *,
    most: int,
    stream: Stream,
    wording: CapableWording,
    stop: threading.Event | None,
) -> list[Quote]:
    """The quotes that support the answer, in the order in which the model names them; the best ranked where it fails.

    Args:
        question: as it was asked.
        answer: the model's.
        ranked: best first; the first 20 are numbered.
        most: quotes to choose at most.
        stream: the model.
        wording: how it is asked.
        stop: set, it ends the reply.
    """
    numbered = list(ranked[:MOST_NUMBERED])
    if not numbered or not answer:
        return list(ranked[:most])
    lines = "\n".join(f"[{number}] {readable(quote.text)}" for number, quote in enumerate(numbered, start=1))
    number = {"type": "integer", "minimum": 1, "maximum": len(numbered)}
    schema = {
        "type": "object",
        "properties": {"sentences": {"type": "array", "items": number, "maxItems": most}},
        "required": ["sentences"],
        "additionalProperties": False,
    }
    prompt = fill(wording.choose, question=question, answer=answer, sentences=lines)
    numbers = _numbers(_reply(stream, prompt, 16 + 8 * most, schema, stop), len(numbered))
    return [numbered[one - 1] for one in numbers[:most]] or list(ranked[:most])


def _numbers(reply: str | None, most: int) -> list[int]:
    """The numbers of a reply, each once; none where it is not what was asked for."""
    try:
        found = json.loads(reply or "")["sentences"]
    except (ValueError, KeyError, TypeError):
        return []
    if not isinstance(found, list):
        return []
    return list(dict.fromkeys(one for one in found if type(one) is int and 1 <= one <= most))


def _reply(
    stream: Stream, prompt: str, tokens: int, schema: dict[str, object] | None, stop: threading.Event | None
) -> str | None:
    """A whole reply; None: it was stopped, cut off or refused."""
    text, whole = "", False
    try:
        with closing(stream.answer([{"role": "user", "content": prompt}], tokens, schema, stop=stop)) as events:
            for event in events:
                match event:
                    case Piece(piece):
                        text += piece
                    case Recalled():
                        text = ""
                    case Finished(reason="stop"):
                        whole = True
    except ValueError:  # StreamError, or a model that cannot be loaded: the answer itself will say so
        return None
    return text.strip() if whole else None
