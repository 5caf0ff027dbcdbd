"""What the stage instruct takes in, as items: selected questions, a generator's on abstracts, and QASA's."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from stages.lib.chats.abstracts import AbstractFiles, read_abstracts
from stages.lib.chats.qa_items import Kind, QAItem
from stages.lib.chats.qar import chosen_evidence
from stages.lib.chats.qasa import QasaQuestion
from stages.lib.chats.role_tokens import holds_role_token
from stages.lib.core.records import Record
from stages.lib.english.facts import readable
from stages.lib.llm.protocol import LanguageModel
from stages.lib.qa.question_writing import Settings, asker
from stages.lib.qa.topics import topic_phrase
from stages.lib.reading.documents import Drop

EVIDENCE_SENTENCES = 3  # of passages without a rationale
MIN_TRIGGER_CHARS = 40  # a shorter trigger sentence ("Figure 3") is no text that a question could be refused on


def text_fault(context: str, question: str, answer: str, max_context_chars: int) -> str | None:
    """Why texts cannot become a record; None if they can.

    Reasons: `no_question`, `no_answer`, `context_too_long`, `holds_role_token` (it would break the chat), and
    `invalid_unicode` (a lone surrogate, which JSON can spell and UTF-8 cannot).
    """
    if not question.strip():
        return "no_question"
    if not answer.strip():
        return "no_answer"
    if len(context) > max_context_chars:
        return "context_too_long"
    if any(holds_role_token(text) for text in (context, question, answer)):
        return "holds_role_token"
    try:
        (context + question + answer).encode()
    except UnicodeEncodeError:
        return "invalid_unicode"
    return None


def checked(
    found: Iterable[QAItem | Drop], max_context_chars: int, known: Container[str] = ()
) -> tuple[list[QAItem], list[Drop]]:
    """The usable items, and the drops with those that unusable texts made.

    Beside the reasons of `text_fault` there is `duplicate`: an item of that id is `known`, or came before.
    """
    items: dict[str, QAItem] = {}
    drops: list[Drop] = []
    for item in found:
        if isinstance(item, Drop):
            drops.append(item)
            continue
        fault = "duplicate" if item.id in items or item.id in known else None
        fault = fault or text_fault(item.context, item.question, item.answer, max_context_chars)
        if fault:
            drops.append(Drop(item.id, fault, item.question[:200].encode(errors="replace").decode()))
        else:
            items[item.id] = item
    return list(items.values()), drops


def titled(title: str, text: str) -> str:
    """A text below its title: without it, nothing in a docstring tells which function it describes."""
    return f"{title}\n\n{text.strip()}" if title else text.strip()


def selected_items(questions: Sequence[Record], chunks: dict[str, Record]) -> list[QAItem | Drop]:
    """Selected questions with their chunks. Drop reason: `no_chunk`."""
    found: list[QAItem | Drop] = []
    for record in questions:
        chunk = chunks.get(record["chunk"])
        if chunk is None:
            found.append(Drop(record["id"], "no_chunk", record["chunk"]))
            continue
        title = topic_phrase(chunk["source"])
        found.append(_written_item(record, chunk["text"], "selected", chunk["document"], title))
    return found


def ask_about_abstracts(
    source: AbstractFiles, prompts: dict[str, str], model: LanguageModel, settings: Settings, name: str
) -> list[QAItem | Drop]:
    """A question on each abstract, by the strategy of the model's entry; an abstract without one is a drop.

    `name`: the model's. Drop reasons: those of `read_abstracts`, `same_id`, and those of lib/qa/question_writing.py.
    """
    papers: dict[str, Record] = {}
    found: list[QAItem | Drop] = []
    for paper in read_abstracts(source):
        if isinstance(paper, Drop):
            found.append(paper)
        elif paper["id"] in papers:
            found.append(Drop(paper["id"], "same_id", paper["text"][:80]))
        else:
            papers[paper["id"]] = paper
    outcome = asker(model.entry.qa_strategy)(list(papers.values()), prompts, model, settings, name)
    for line in outcome.rejected:
        if line["final"]:
            found.append(Drop(line["chunk"], line["reason"], (line.get("error") or line["reply"] or "")[:200]))
    for record in outcome.kept:
        paper = papers[record["chunk"]]
        item = _written_item(record, paper["text"], "abstract", paper["source"], paper["title"])
        found.append(replace(item, id=f"abstract:{item.id}"))
    return found


def qasa_items(questions: Sequence[QasaQuestion]) -> list[QAItem | Drop]:
    """QASA's questions on the passages that are their evidence.

    What the authors could not answer becomes `unanswerable`, on its passages or else the sentence that made the reader
    ask. Drop reasons: `no_evidence` (an answer without a passage), `no_text` (neither passage nor trigger sentence).
    """
    found: list[QAItem | Drop] = []
    for question in questions:
        passages = [passage.context for passage in question.evidence if passage.context]
        if not passages and not question.refuses:
            found.append(Drop(question.id, "no_evidence", question.answer))
            continue
        if not passages and len(question.trigger) < MIN_TRIGGER_CHARS:
            found.append(Drop(question.id, "no_text", question.trigger))
            continue
        rationales = [passage.rationale for passage in question.evidence if passage.rationale]
        evidence = chosen_evidence(passages, question.question, question.answer, EVIDENCE_SENTENCES)
        item = QAItem(
            id=question.id,
            kind="unanswerable" if question.refuses else "qasa",
            source=question.paper,
            title=question.title,
            context=titled(question.title, "\n\n".join(passages) if passages else question.trigger),
            question=question.question,
            answer=question.answer,
            made_by="people",
            evidence="" if question.refuses else evidence,
            reasoning=" ".join(rationales),
        )
        found.append(item)
    return found


def _written_item(record: Record, text: str, kind: Kind, source: str, title: str) -> QAItem:
    support = record.get("support")
    evidence = readable(text[support["start"] : support["end"]]) if support else ""
    if record.get("strategy") == "fact_first":  # the answer is the statement itself, as it reads
        evidence = record["answer"]
    return QAItem(
        id=record["id"],
        kind=kind,
        source=source,
        title=title,
        context=titled(title, text),
        question=record["question"],
        answer=record["answer"],
        made_by=record["generator"],
        evidence=evidence,
        opening=record.get("opening", ""),
    )
