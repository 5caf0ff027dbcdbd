"""Which held-out questions are asked, and what is made of a record."""

from collections.abc import Sequence
from typing import Any

from stages.lib.core.metrics import check_counts
from stages.lib.core.records import Record
from stages.lib.evaluation.win_rate import AnswerPair
from stages.lib.replying.conversation_replies import ConversationReply
from stages.lib.statistics.drawing import drawn


def choose_questions(
    records: Sequence[Record], lengths: Sequence[int], limit: int, questions: int, seed: int
) -> tuple[list[Record], dict[str, Any]]:
    """Up to `questions` records (0: all), in turn from each kind, drawn by hash; and the counts.

    `lengths`: tokens of each record's prompt; those over `limit` are dropped (`too_long`).
    """
    fits = [record for record, length in zip(records, lengths, strict=True) if length <= limit]
    by_id = {record["id"]: record for record in fits}
    queues = {
        kind: drawn(f"eval {seed}", (record["id"] for record in fits if record["kind"] == kind))
        for kind in sorted({record["kind"] for record in fits})
    }
    turns = sorted((place, kind, name) for kind, names in queues.items() for place, name in enumerate(names))
    chosen = [by_id[name] for _, _, name in turns][: questions or None]
    dropped = {"too_long": len(records) - len(fits), "not_chosen": len(fits) - len(chosen)}
    return chosen, check_counts(len(records), len(chosen), {key: count for key, count in dropped.items() if count})


def make_pairs(
    records: Sequence[Record], first: Sequence[ConversationReply], second: Sequence[ConversationReply]
) -> list[AnswerPair]:
    """What the judge compares."""
    return [
        AnswerPair(
            question=record["question"],
            context=record["context"],
            reference=record["answer"],
            first=one.text,
            second=other.text,
        )
        for record, one, other in zip(records, first, second, strict=True)
    ]


def prompt_of(record: Record) -> list[dict[str, str]]:
    """The turns of a chat record up to the assistant's last one.

    Raises:
        ValueError: its last turn is not the assistant's, or there is none before it.
    """
    messages: list[dict[str, str]] = record["messages"]
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise ValueError(f"record {record.get('id')!r}: its messages do not end with a turn of the assistant")
    return messages[:-1]
