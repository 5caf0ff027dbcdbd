"""Papers' abstracts, and question/answer records without a text, from JSON and JSONL files."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from stages.lib.chats.qa_items import QAItem
from stages.lib.chats.qasa import clean, first_text
from stages.lib.chats.record_files import read_records
from stages.lib.core.records import Record
from stages.lib.reading.documents import Drop, duplicate_key


@dataclass(frozen=True, kw_only=True)
class AbstractFiles:
    """One entry of `abstracts`: records of title and abstract."""

    patterns: list[str]  # globs of .json (a list, or one object of records) and .jsonl files
    title_key: str = "title"  # may be absent or empty
    text_key: str = "abstract"  # a text, or a list of its paragraphs
    id_key: str = "id"  # the paper's id; without it, a hash of its text
    limit: int = 0  # papers at most; 0: all

    def __post_init__(self) -> None:
        if not self.patterns or self.limit < 0:
            raise ValueError("patterns needs a pattern, and limit is at least 0")


@dataclass(frozen=True, kw_only=True)
class AnswerFiles:
    """One entry of `question_answers`: records of question and answer without a text (SciDQA)."""

    patterns: list[str]
    question_key: str = "que"
    answer_key: str = "ans"
    source_key: str = "pid"  # the paper that the question is about: the split is by it
    limit: int = 0  # records at most; 0: all

    def __post_init__(self) -> None:
        if not self.patterns or self.limit < 0:
            raise ValueError("patterns needs a pattern, and limit is at least 0")


def read_abstracts(source: AbstractFiles) -> Iterator[Record | Drop]:
    """Yields {id, source, title, text, start, topic} of each paper, ready for lib/qa/question_writing.py.

    Drop reasons: those of reading, `no_abstract`, `invalid_unicode`, `duplicate` (the same abstract came before).
    """
    seen: set[bytes] = set()
    for found in read_records(source.patterns):
        if isinstance(found, Drop):
            yield found
            continue
        where, record = found
        content = record.get(source.text_key)
        parts = content if isinstance(content, list) else [content]
        text = "\n\n".join(part for part in map(_paragraph, parts) if part)
        if not text:
            yield Drop(where, "no_abstract", f"{source.text_key} holds {str(content)[:60]!r}")
            continue
        title = clean(record.get(source.title_key))
        try:
            key = duplicate_key(text)
            title.encode()
        except UnicodeEncodeError as error:
            yield Drop(where, "invalid_unicode", str(error))
            continue
        if key in seen:
            yield Drop(where, "duplicate", text[:80])
            continue
        seen.add(key)
        paper = first_text(record, source.id_key) or hashlib.sha256(text.encode()).hexdigest()[:12]
        # The text goes with each question, so a question need not name its paper.
        yield {"id": paper, "source": paper, "title": title, "text": text, "start": 0, "topic": ""}
        if len(seen) == source.limit:
            return


def read_answers(source: AnswerFiles) -> Iterator[QAItem | Drop]:
    """Yields closed-book items: the question alone is asked.

    A leading "A:" of an answer (SciDQA's form) is left out. Drop reasons: those of reading, `no_question`, `no_answer`,
    `no_paper`, `duplicate` (the same question on the same paper came before).
    """
    seen: set[tuple[str, str]] = set()
    for found in read_records(source.patterns):
        if isinstance(found, Drop):
            yield found
            continue
        where, record = found
        question = clean(record.get(source.question_key)).removeprefix("Q:").strip()
        answer = clean(record.get(source.answer_key)).removeprefix("A:").strip()
        paper = first_text(record, source.source_key)
        fault = "no_question" if not question else "no_answer" if not answer else None if paper else "no_paper"
        if fault is None and (paper, question.lower()) in seen:
            fault = "duplicate"
        if fault:
            yield Drop(where, fault, question[:80])
            continue
        seen.add((paper, question.lower()))
        yield QAItem(
            id=f"answers:{paper}:{hashlib.sha256(question.encode(errors='replace')).hexdigest()[:8]}",
            kind="closed_book",
            source=paper,
            context="",
            question=question,
            answer=answer,
            made_by="people",
        )
        if len(seen) == source.limit:
            return


def _paragraph(part: object) -> str:
    """A paragraph's text; of QASA's passages, the context."""
    return clean(part.get("context") if isinstance(part, dict) else part)
