"""Scores of replies, and the measures that a set of questions allows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.lib.answers.likeness import rouge_l, token_f1
from stages.lib.core.metrics import check_counts
from stages.lib.core.records import Record
from stages.lib.embedding.embedders import Embedder
from stages.lib.evaluation.comparison import Measure, against
from stages.lib.evaluation.reply_kinds import corrects, declines
from stages.lib.evaluation.win_rate import WORTH, Preference
from stages.lib.replying.conversation_replies import ConversationReply

EDGE_KINDS = ("unanswerable", "false_premise")


def reply_similarities(embedder: Embedder, replies: Sequence[str], references: Sequence[str]) -> list[float]:
    """The cosine of each reply and its reference; an empty reply is worth 0."""
    wanted = embedder.encode_documents(references)
    vectors = embedder.encode_documents([reply or " " for reply in replies])
    cosines = np.einsum("qh,qh->q", vectors, wanted).tolist()
    return [round(cosine, 6) if reply.strip() else 0.0 for cosine, reply in zip(cosines, replies, strict=True)]


def score_reply(record: Record, reply: ConversationReply, similarity: float) -> Record:
    """The scores of one reply; None where the reference has no word to be compared with."""
    return {
        "token_f1": token_f1(reply.text, record["answer"]),
        "rouge_l": rouge_l(reply.text, record["answer"]),
        "embedding_similarity": similarity,
        "declined": int(declines(record, reply.text)),
        "corrected": int(corrects(record, reply.text)) if record["kind"] == "false_premise" else None,
        "tokens": reply.tokens,
        "finished": int(reply.finished),
    }


def make_measures(
    records: Sequence[Record], scores: Mapping[str, Sequence[Record]]
) -> tuple[list[Measure], dict[str, str]]:
    """The measures that these questions allow, and why others are absent. `scores`: system -> a row per question."""
    places = {
        "unanswerable": [i for i, record in enumerate(records) if record["kind"] == "unanswerable"],
        "false_premise": [i for i, record in enumerate(records) if record["kind"] == "false_premise"],
        "answerable": [i for i, record in enumerate(records) if record["kind"] not in EDGE_KINDS],
    }
    everything = list(range(len(records)))

    def mean(name: str, score: str, chosen: Sequence[int]) -> Measure:
        return Measure(name=name, parts={system: [rows[i][score] for i in chosen] for system, rows in scores.items()})

    absent: dict[str, str] = {}
    measures = []
    for name, score, chosen in (
        ("token_f1", "token_f1", everything),
        ("rouge_l", "rouge_l", everything),
        ("embedding_similarity", "embedding_similarity", everything),
        ("token_f1_answerable", "token_f1", places["answerable"]),
    ):
        measured = [i for i in chosen if all(rows[i][score] is not None for rows in scores.values())]
        if measured:
            measures.append(mean(name, score, measured))
        else:
            absent[name] = "no reference has a word" if chosen else "no answerable question was asked"
    if places["unanswerable"]:
        measures.append(mean("refusal_recall", "declined", places["unanswerable"]))
    else:
        absent["refusal_recall"] = "no unanswerable question was asked"
    if places["unanswerable"] and len(places["unanswerable"]) < len(records):
        right = set(places["unanswerable"])
        measures.append(
            Measure(
                name="refusal_precision",
                parts={
                    system: [row["declined"] * (i in right) for i, row in enumerate(rows)]
                    for system, rows in scores.items()
                },
                weights={system: [row["declined"] for row in rows] for system, rows in scores.items()},
            )
        )
    else:
        absent["refusal_precision"] = "the questions asked are all answerable or all unanswerable"
    if places["false_premise"]:
        measures.append(mean("correction_rate", "corrected", places["false_premise"]))
    else:
        absent["correction_rate"] = "no question with a false premise was asked"
    return measures, absent


def not_scored(scores: Mapping[str, Sequence[Record]]) -> dict[str, int]:
    """Measure -> how many questions it could not score, because their reference has no word; a mean is without them."""
    counts: dict[str, int] = {}
    for name in ("token_f1", "rouge_l"):
        nulls = {i for rows in scores.values() for i, row in enumerate(rows) if row[name] is None}
        if nulls:
            counts[name] = len(nulls)
    return counts


def win_row(verdicts: Sequence[Preference], samples: int, seed: int) -> dict[str, Any] | None:
    """Wins and half the ties over the questions judged: interval, p against one half, counts. None: none judged."""
    judged = [verdict.outcome for verdict in verdicts if verdict.outcome is not None]
    failed = len(verdicts) - len(judged)
    if not judged:
        return None
    return against([WORTH[outcome] for outcome in judged], 0.5, samples, seed) | {
        "questions": check_counts(len(verdicts), len(judged), {"judge_failed": failed} if failed else {}),
        "outcomes": {name: judged.count(name) for name in WORTH},
        "orders_disagreed": sum(verdict.disagreed for verdict in verdicts),
    }
