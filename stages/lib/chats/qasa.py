"""QASA's JSON: questions on papers with their evidence, and others' data in that schema.

One JSON object keyed by record number (lists and JSONL are read too). What the real files hold and a loader has to
survive: `s2orc_id` in place of `arxiv_id`, question types in any case with trailing blanks, `question_id` that starts
again with each paper, empty `evidential_info`, empty rationales, contexts with non-breaking spaces, empty answers.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from stages.lib.core.records import Record
from stages.lib.reading.documents import Drop
from stages.lib.reply_acts.refusing import says_not_told


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A passage of the paper and why it tells the answer; the rationale may be empty."""

    context: str
    rationale: str


@dataclass(frozen=True, kw_only=True)
class QasaQuestion:
    """A question on a paper."""

    id: str  # qasa:paper:hash of the question, since question_id is not unique
    paper: str
    title: str
    question: str
    trigger: str  # the sentence of the paper that made the reader ask
    evidence: list[Evidence]
    answer: str

    @property
    def refuses(self) -> bool:
        """Whether the answer says that the paper does not tell."""
        return says_not_told(self.answer, self.question)


def read_qasa(records: Sequence[tuple[str, Record] | Drop]) -> list[QasaQuestion | Drop]:
    """Typed questions in the order of the records.

    Drop reasons: those of reading, `no_paper`, `no_question`, `no_answer`, `broken_evidence`, `duplicate` (the same
    question on the same paper came before).
    """
    found: list[QasaQuestion | Drop] = []
    seen: set[tuple[str, str]] = set()
    for entry in records:
        if isinstance(entry, Drop):
            found.append(entry)
            continue
        where, record = entry
        item = as_question(where, record)
        if isinstance(item, QasaQuestion):
            key = (item.paper, item.question.lower())
            if key in seen:
                item = Drop(where, "duplicate", item.question)
            else:
                seen.add(key)
        found.append(item)
    return found


def as_question(where: str, record: Record) -> QasaQuestion | Drop:
    """One record."""
    paper = first_text(record, "paper_id", "arxiv_id", "s2orc_id")
    if not paper:
        return Drop(where, "no_paper", "none of paper_id, arxiv_id, s2orc_id holds a name")
    question = clean(record.get("question"))
    if not question:
        return Drop(where, "no_question", repr(record.get("question")))
    answer = clean(record.get("composition")).strip("[] ").lstrip(":;,. ")
    if not answer:
        return Drop(where, "no_answer", question)
    passages = record.get("evidential_info") or []
    if not isinstance(passages, list) or not all(isinstance(passage, dict) for passage in passages):
        return Drop(where, "broken_evidence", f"expected a list of objects, found {str(passages)[:80]}")
    evidence = [
        Evidence(context=clean(passage.get("context")), rationale=clean(passage.get("rationale")))
        for passage in passages
    ]
    return QasaQuestion(
        id=f"qasa:{paper}:{hashlib.sha256(question.encode()).hexdigest()[:8]}",
        paper=paper,
        title=clean(record.get("title")),
        question=question,
        trigger=clean(record.get("question_trigger_sentence")),
        evidence=[passage for passage in evidence if passage.context or passage.rationale],
        answer=answer,
    )


def first_text(record: Record, *keys: str) -> str:
    """The first of the keys' values that is a text or a number, as text; "" if there is none."""
    for key in keys:
        value = record.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return ""


def clean(value: object) -> str:
    """A text with its white space, non-breaking blanks among it, collapsed; "" for what is no text."""
    return " ".join(value.split()) if isinstance(value, str) else ""
