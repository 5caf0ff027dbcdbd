"""What people marked on the chat's page and exported there: answers with a thumb up become training data."""

import hashlib
from collections.abc import Iterator

from stages.lib.chats.qa_items import QAItem
from stages.lib.chats.qar import chosen_evidence
from stages.lib.chats.qasa import clean, first_text
from stages.lib.chats.record_files import read_records
from stages.lib.core.records import Record
from stages.lib.reading.chats import as_chat, holds_turns
from stages.lib.reading.documents import Drop
from stages.lib.reply_acts.refusing import says_not_told

EVIDENCE_SENTENCES = 3  # of the passages


def read_rated_chats(patterns: list[str]) -> Iterator[QAItem | Drop]:
    """Yields an item for each turn with a thumb up: {question, answer, context, source, reasoning, rating}.

    In place of question and answer a record may have turns (reading/chats.py): the last answer is what was rated.
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
        if holds_turns(record):
            found_parts = _last_pair(where, record)
            if isinstance(found_parts, Drop):
                yield found_parts
                continue
            record = found_parts
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


def _last_pair(where: str, record: Record) -> Record | Drop:
    """The record with the last answer of its turns and the question before it; drops: `as_chat`'s, `no_question`."""
    chat = as_chat(where, record)
    if isinstance(chat, Drop):
        return chat
    *before, last = chat["messages"]
    if not before or before[-1]["role"] != "user":
        return Drop(where, "no_question", last["content"][:80])
    return chat | {"question": before[-1]["content"], "answer": last["content"]}


def _fault(rating: object, question: str, answer: str, context: str, source: str) -> str | None:
    if rating == "down":
        return "rated_down"
    if rating != "up":
        return "no_rating"
    for text, fault in ((question, "no_question"), (answer, "no_answer"), (context, "no_text"), (source, "no_paper")):
        if not text:
            return fault
    return None
