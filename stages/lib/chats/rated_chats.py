"""What people marked on the chat's page and exported there: answers with a thumb up become training data."""

import hashlib
from collections.abc import Iterator

from stages.lib.chats.qa_items import QAItem
from stages.lib.chats.qar import chosen_evidence
from stages.lib.chats.qasa import clean, first_text
from stages.lib.chats.record_files import read_records
from stages.lib.reading.documents import Drop
from stages.lib.reply_acts.refusing import says_not_told

EVIDENCE_SENTENCES = 3  # of the passages


def read_rated_chats(patterns: list[str]) -> Iterator[QAItem | Drop]:
    """Yields an item for each turn with a thumb up: {question, answer, context, source, reasoning, rating}.

    `context` holds the passages that the question was answered from, `source` the document's name. An answer that says
    that the text does not tell becomes `unanswerable`. Drop reasons: those of reading, `rated_down`, `no_rating` (or
    another than up and down), `no_question`, `no_answer`, `no_text`, `no_paper`, `duplicate` (the same question on the
    same document came before).
    """
    seen: set[tuple[str, str]] = set()
    for found in read_records(patterns):
        if isinstance(found, Drop):
            yield found
            continue
        where, record = found
        question, answer, context = (clean(record.get(key)) for key in ("question", "answer", "context"))
        source = first_text(record, "source")
        fault = _fault(record.get("rating"), question, answer, context, source)
        if fault is None and (source, question.lower()) in seen:
            fault = "duplicate"
        if fault:
            yield Drop(where, fault, question[:80])
            continue
        seen.add((source, question.lower()))
        refuses = says_not_told(answer, question)
        digest = hashlib.sha256("\0".join((source, question)).encode(errors="replace")).hexdigest()
        yield QAItem(
            id=f"rated:{digest[:12]}",
            kind="unanswerable" if refuses else "rated",
            source=source,
            context=context,
            question=question,
            answer=answer,
            made_by="people",
            evidence="" if refuses else chosen_evidence([context], question, answer, EVIDENCE_SENTENCES),
            reasoning="" if refuses else clean(record.get("reasoning")),
        )


def _fault(rating: object, question: str, answer: str, context: str, source: str) -> str | None:
    if rating == "down":
        return "rated_down"
    if rating != "up":
        return "no_rating"
    for text, fault in ((question, "no_question"), (answer, "no_answer"), (context, "no_text"), (source, "no_paper")):
        if not text:
            return fault
    return None
