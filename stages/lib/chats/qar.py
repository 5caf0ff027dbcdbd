"""Question, reasoning, answer: `reasoning ##### answer`, from our own questions and from QASA's evidence."""

import re

from stages.lib.chats.entries import default_value, parameter_name
from stages.lib.chats.qa_items import QAItem
from stages.lib.core.params import fill
from stages.lib.english.facts import readable, sentences
from stages.lib.english.question_clause import asked_clause
from stages.lib.english.words import content_words
from stages.lib.reading.documents import Drop

_CONSEQUENCE = re.compile(
    r"\b(?:[Ii]f|[Ww]hen|[Oo]nce)\b(?:[^,]|, (?:e\.g\.|i\.e\.))*,\s+(?!e\.g\.|i\.e\.)(?:then )?(?P<then>.+)$"
)


def reasoned(item: QAItem, template: str) -> tuple[str, str] | Drop:
    """Reasoning and answer of an item.

    The reasoning is people's own where there is any; of a closed-book answer, what follows its first sentence; else the
    template with {asked}, what the question asks for, and {evidence}, the statements that tell it.
    Drop reasons: `no_evidence` (no statement of the text tells the answer), `one_sentence` (a closed-book answer).
    """
    if item.kind == "closed_book":
        return answer_first(item.answer) or Drop(item.id, "one_sentence", item.answer)
    if item.reasoning:
        return item.reasoning, item.answer
    if not item.evidence:
        return Drop(item.id, "no_evidence", item.answer)
    clause = asked_clause(item.question, item.opening)
    asked = f"The question asks {clause}." if clause else f'The question is: "{item.question}"'
    return fill(template, asked=asked, evidence=item.evidence), short_answer(item)


def answer_first(answer: str) -> tuple[str, str] | None:
    """(reasoning, answer) of an answer whose first sentence answers and whose others explain; None of a single one."""
    spans = sentences(answer)
    if len(spans) < 2:
        return None
    return answer[spans[1][0] : spans[-1][1]], answer[spans[0][0] : spans[0][1]]


def short_answer(item: QAItem) -> str:
    """The part of the statement that answers the question: a parameter's name, a default, a consequence; else all."""
    question, evidence = item.question, item.evidence
    if item.kind not in ("selected", "abstract"):
        return item.answer
    if question.startswith("Which parameter") and (name := parameter_name(item)):
        return name
    if question.startswith("What is the default value") and (value := default_value(evidence)):
        return value
    if question.startswith("What happens ") and (match := _CONSEQUENCE.search(evidence)):
        then = match["then"]
        return then[:1].upper() + then[1:]
    return item.answer


def chosen_evidence(contexts: list[str], question: str, answer: str, limit: int) -> str:
    """The sentences of the contexts that hold most of the words of question and answer, in reading order.

    For evidence without a written rationale. A sentence counts by the share of its words that question and answer hold
    and by how many of theirs it covers; ties in reading order. "" if no sentence shares a word.
    """
    wanted = content_words(f"{question} {answer}")
    scored = []
    for number, context in enumerate(contexts):
        for start, end in sentences(context):
            words = content_words(context[start:end])
            shared = len(words & wanted)
            if shared:
                score = 2 * shared / (len(words) + len(wanted))
                scored.append((-score, number, start, readable(context[start:end])))
    chosen = sorted(sorted(scored)[:limit], key=lambda part: part[1:3])
    return " ".join(text for *_, text in chosen)
