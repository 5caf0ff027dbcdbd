"""The messages for a model: the passages as quoted data, the conversation so far, never more than fits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stages.lib.core.params import fill
from stages.lib.core.records import Message
from stages.lib.passages.passages import Passage, readable

Count = Callable[[Sequence[Message]], int]  # messages -> tokens of the prompt


@dataclass(frozen=True, kw_only=True)
class AnswerWording:
    """The texts of prompts.yaml that a question is asked with; those that the tuned model was trained on."""

    system: str  # the system turn
    with_context: str  # the user's turn: {context} and {question}


def build_messages(
    question: str,
    passages: Sequence[Passage],
    history: Sequence[Message],
    *,
    wording: AnswerWording,
    count: Count,
    room: int,
) -> list[Message]:
    """System turn, as much of the history as fits (its latest turns), and the question with as many passages as fit.

    The best passage comes first; half of the room is the passages', and what they leave is the history's.

    Args:
        question: as the person asked it.
        passages: best first.
        history: earlier turns of user and assistant, without passages.
        wording: the texts around them.
        count: tokens of messages.
        room: tokens of the whole prompt.

    Raises:
        ValueError: the question alone does not fit.
    """
    system: Message = {"role": "system", "content": wording.system.strip()}
    bare = [system, _asked(question, [], wording)]
    if count(bare) > room:
        raise ValueError(
            f"the question has {count(bare):,} tokens with its instructions; there is room for {room:,}: ask a shorter "
            "one; chat.context_tokens allows more, up to the model's own context"
        )
    limit = room if not history else count(bare) + (room - count(bare)) // 2
    kept: list[Passage] = []
    for passage in passages:
        if count([system, _asked(question, [*kept, passage], wording)]) > limit:
            break
        kept.append(passage)
    asked = _asked(question, kept, wording)
    earlier: list[Message] = []
    for start in range(len(history) - 2, -1, -2):  # whole turns, latest first
        turns = list(history[start : start + 2])
        if count([system, *turns, *earlier, asked]) > room:
            break
        earlier = [*turns, *earlier]
    return [system, *earlier, asked]


def _asked(question: str, passages: Sequence[Passage], wording: AnswerWording) -> Message:
    context = "\n\n".join(readable(passage.text) for passage in passages)
    return {"role": "user", "content": fill(wording.with_context, context=context, question=question).strip()}
