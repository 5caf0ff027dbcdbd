"""What is asked of the corpus: held-out questions that it answers, and questions that it does not.

A held-out question of kind `unanswerable` was paired with a text that does not answer it; the corpus as a whole does,
or may, so these are left out. In their place, questions that the corpus surely does not answer: the answerable ones,
each searched for without every document that answers it (near-duplicates included), and questions of another subject.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from stages.lib.core.metrics import check_counts
from stages.lib.core.records import Record
from stages.lib.rag.corpus_index import Place, support_of
from stages.lib.ranking.qrels import relevant_chunks
from stages.lib.reply_acts.refusing import says_not_told
from stages.lib.statistics.drawing import drawn

Kind = Literal["answerable", "false_premise", "removed", "off_topic"]
ORDER: tuple[Kind, ...] = get_args(Kind)
KINDS: dict[str, Kind] = {"selected": "answerable", "true_premise": "answerable", "false_premise": "false_premise"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One question, and what there is to find."""

    id: str
    kind: Kind
    question: str
    reference: str = ""  # the answer; "" where the right answer is that the documents do not tell
    record: Record | None = None  # of data/instruct/synthetic_qa_test.jsonl
    relevant: frozenset[str] = frozenset()  # chunks that answer
    support: Place | None = None  # the sentence that answers
    without: frozenset[str] = frozenset()  # documents that may not be searched

    @property
    def answerable(self) -> bool:
        """Whether the documents that may be searched answer it."""
        return self.kind in ("answerable", "false_premise")


def refuses(asked: Asked, reply: str) -> bool:
    """Whether a reply to the question says that the documents do not tell."""
    return says_not_told(reply, asked.question, asked.reference)


def asked_questions(
    held_out: Sequence[Record],
    selected: Sequence[Record],
    *,
    chunks: Mapping[str, Record],
    groups: Mapping[str, Sequence[str]],
    off_topic: Sequence[str],
) -> tuple[list[Asked], dict[str, Any]]:
    """The questions, by kind, and the counts of the held-out ones.

    Args:
        held_out: records of the test split.
        selected: records with id, chunk and support, of which the held-out ones were made.
        chunks: id -> record, the whole corpus.
        groups: chunk id -> the chunks of the same words.
        off_topic: questions of another subject.
    """
    by_id = {record["id"]: record for record in selected}
    dropped: dict[str, int] = {}
    possible = []
    for record in held_out:
        reason = _fault(record, by_id)
        if reason:
            dropped[reason] = dropped.get(reason, 0) + 1
        else:
            possible.append(record)
    used = {name: by_id[name] for name in dict.fromkeys(map(_origin, possible))}
    qrels = relevant_chunks(list(used.values()), chunks, groups, chunks.keys(), True).qrels if used else {}
    asked = []
    for record in possible:
        origin = used[_origin(record)]
        found = Asked(
            id=record["id"],
            kind=KINDS[record["kind"]],
            question=record["question"],
            reference=record["answer"],
            record=record,
            relevant=frozenset(qrels[origin["id"]]),
            support=support_of(origin, chunks),
        )
        asked.append(found)
        if record["kind"] == "selected":
            without = frozenset(chunks[name]["document"] for name in found.relevant)
            asked.append(Asked(id=f"removed:{found.id}", kind="removed", question=found.question, without=without))
    asked += [Asked(id=f"off_topic:{i}", kind="off_topic", question=text) for i, text in enumerate(off_topic)]
    asked.sort(key=lambda one: ORDER.index(one.kind))
    return asked, check_counts(len(held_out), len(possible), dropped)


def questions_for_models(asked: Sequence[Asked], above_floor: Sequence[bool], limit: int, seed: int) -> list[int]:
    """Places of the questions that the models are asked, ascending: up to `limit` (0: all), in turn from each kind.

    Below the floor the page does not ask a model: of the questions that the documents do not answer, only those above
    it are asked.
    """
    possible = {one.id: i for i, one in enumerate(asked) if one.answerable or above_floor[i]}
    queues = {
        kind: drawn(f"rag {seed}", (name for name, i in possible.items() if asked[i].kind == kind)) for kind in ORDER
    }
    turns = sorted(
        (place, ORDER.index(kind), name) for kind, names in queues.items() for place, name in enumerate(names)
    )
    return sorted(possible[name] for _, _, name in turns[: limit or None])


def _origin(record: Record) -> str:
    return str(record.get("question_of") or record["id"])


def _fault(record: Record, selected: Mapping[str, Record]) -> str:
    """Why a held-out record cannot be asked of the corpus; "" if it can."""
    if record["kind"] == "unanswerable":
        return "corpus_may_answer"
    if record["kind"] not in KINDS or _origin(record) not in selected:
        return "not_about_a_chunk"
    return ""
