"""Items -> records of the three sets: chats, question-reasoning-answer, instruction-input-output."""

from dataclasses import asdict, dataclass

from stages.lib.answers.reasoned_answers import halves_fault, joined
from stages.lib.chats.qa_items import QAItem
from stages.lib.chats.qar import reasoned
from stages.lib.chats.role_tokens import holds_role_token, to_text
from stages.lib.core.params import fill
from stages.lib.core.records import Message, Record
from stages.lib.reading.documents import Drop


@dataclass(frozen=True, kw_only=True)
class Wording:
    """The texts of prompts.yaml that a chat is written with."""

    system: str  # the system turn of every chat
    with_context: str  # the user's turn: {context} and {question}
    reasoning: str  # the user's turn where reasoning is asked for: {context} and {question}
    closed_book_reasoning: str  # the same of a question without a text: {question}


def chat_record(item: QAItem, wording: Wording) -> Record:
    """A line of synthetic_qa: the chat as messages and in role tokens, its parts, and how it was made."""
    asked = fill(wording.with_context, context=item.context, question=item.question) if item.context else item.question
    messages = [
        {"role": "system", "content": wording.system.strip()},
        {"role": "user", "content": asked.strip()},
        {"role": "assistant", "content": item.answer.strip()},
    ]
    record: Record = {
        "id": item.id,
        "kind": item.kind,
        "source": item.source,
        "made_by": item.made_by,
        "messages": messages,
        "text": to_text(messages),
        "context": item.context,
        "question": item.question,
        "answer": item.answer,
    }
    if item.change:
        record["change"] = asdict(item.change)
    if item.question_of:
        record["question_of"] = item.question_of
    return record


def qar_record(item: QAItem, template: str, wording: Wording) -> Record | Drop:
    """A line of qar: a prompt (system and user turn) and `reasoning ##### answer`.

    Drop reasons: those of `qar.reasoned` and `qar.halves_fault`, and `holds_role_token` in the reasoning.
    """
    halves = reasoned(item, template)
    if isinstance(halves, Drop):
        return halves
    reasoning, answer = halves
    fault = halves_fault(reasoning, answer)
    if fault is None and (holds_role_token(reasoning) or holds_role_token(answer)):
        fault = "holds_role_token"
    if fault:
        return Drop(item.id, fault, f"{reasoning[:100]} | {answer[:100]}")
    if item.context:
        asked = fill(wording.reasoning, context=item.context, question=item.question)
    else:
        asked = fill(wording.closed_book_reasoning, question=item.question)
    messages: list[Message] = [
        {"role": "system", "content": wording.system.strip()},
        {"role": "user", "content": asked.strip()},
    ]
    return {
        "id": item.id,
        "source": item.source,
        "made_by": item.made_by,
        "question": item.question,
        "context": item.context,
        "reasoning": reasoning.strip(),
        "answer": answer.strip(),
        "text": joined(reasoning.strip(), answer.strip()),
        "messages": messages,
    }


def instruction_record(item: QAItem) -> Record:
    """A record of finetune.json."""
    return {"instruction": item.question, "input": item.context, "output": item.answer}
