"""Edge cases written by a generator, and what of its replies passes: for models that can follow such a prompt.

Nothing is taken on trust: an unanswerable question must not be answered by words of its text, a refusal must say that
something is missing, and a false premise's true value must stand in the text, its false one in the question and not in
the text, and both in the correction.
"""

import re
from collections.abc import Sequence
from typing import Any, Protocol

from stages.lib.answers.statements import holds
from stages.lib.chats.collect_items import text_fault
from stages.lib.chats.false_premises import Premise, Premises
from stages.lib.chats.qa_items import Change, Kind, QAItem
from stages.lib.chats.qasa import clean
from stages.lib.chats.refusals import variant
from stages.lib.core.params import fill
from stages.lib.english.facts import readable, sentences
from stages.lib.llm.protocol import GenerateRequest, LanguageModel, Prompt, Reply, Sampling
from stages.lib.qa.questions import repeats
from stages.lib.question_forms.question_faults import question_fault
from stages.lib.reading.documents import Drop
from stages.lib.replies.json_objects import find_json_object
from stages.lib.reply_acts.refusing import says_not_told

MAX_CHARS = 600  # of each part of a reply


class Settings(Protocol):
    """What a stage's params tell of asking."""

    @property
    def max_new_tokens(self) -> int:
        """Of a reply, >= 1."""

    @property
    def temperature(self) -> float:
        """0: greedy."""

    @property
    def seed(self) -> int:
        """Of sampling, where temperature > 0."""


def write_unanswerable(
    items: Sequence[QAItem], prompt: str, model: LanguageModel, settings: Settings
) -> list[QAItem | Drop]:
    """For each item a question on its text that the text does not answer, with its refusal.

    The prompt has {context} and {question}, the item's own question, as an example of what the text does tell.
    Drop reasons: `failed_request`, `cut_off`, `unparsable`, those of `questions.question_fault`, `repeats_prompt`,
    `same_question`, `no_refusal`.
    """
    schema = _schema("question", "answer")
    requests = [_request(fill(prompt, context=i.context, question=i.question), schema, settings) for i in items]
    replies = model.generate(requests, progress="unanswerable") if requests else []
    return [_read_unanswerable(item, reply, prompt) for item, reply in zip(items, replies, strict=True)]


def write_premises(
    items: Sequence[QAItem], prompt: str, confirmations: str, model: LanguageModel, settings: Settings
) -> tuple[dict[str, Premises | Drop], dict[str, Premises | Drop]]:
    """For each item a question on its text with a false premise, and the same question with the true value in it.

    The prompt has {context}, {question} and {answer}; `confirmations` the variants of an answer to a true premise.
    Drop reasons: `failed_request`, `cut_off`, `unparsable`, those of `questions.question_fault`, `repeats_prompt`,
    `true_value_not_in_text`, `false_value_in_text`, `false_value_not_in_question`, `no_correction` (the answer lacks
    the true value); of the true one also `no_statement` (no sentence of the text holds the true value).
    """
    schema = _schema("question", "false", "true", "answer")
    requests = [
        _request(fill(prompt, context=i.context, question=i.question, answer=i.answer), schema, settings) for i in items
    ]
    replies = model.generate(requests, progress="false premises") if requests else []
    false: dict[str, Premises | Drop] = {}
    true: dict[str, Premises | Drop] = {}
    for item, reply in zip(items, replies, strict=True):
        found = _read_false_premise(item, reply, prompt)
        false[item.id] = found if isinstance(found, Drop) else {"generated": Premise(found)}
        right = found if isinstance(found, Drop) else _with_the_true_value(item, found, confirmations)
        if isinstance(right, Drop):
            true[item.id] = Drop(f"true_premise:generator:{item.id}", right.reason, right.detail)
        else:
            true[item.id] = {"generated": Premise(right)}
    return false, true


def _with_the_true_value(item: QAItem, found: QAItem, confirmations: str) -> QAItem | Drop:
    """The question with what the text says in place of what it does not, answered by the text's sentence."""
    change = found.change
    assert change
    name = f"true_premise:generator:{item.id}"
    said = [item.context[start:end] for start, end in sentences(item.context)]
    evidence = next((readable(sentence) for sentence in said if holds(sentence, change.true)), None)
    if evidence is None or len(evidence) > MAX_CHARS:
        return Drop(name, "no_statement", change.true)
    question = re.sub(re.escape(change.false), lambda _: change.true, found.question, flags=re.IGNORECASE)
    answer = fill(variant(confirmations, name), evidence=evidence)
    return _edge_case(name, "true_premise", item, {"question": question, "answer": answer}, None)


def _read_unanswerable(item: QAItem, reply: Reply, prompt: str) -> QAItem | Drop:
    name = f"unanswerable:generator:{item.id}"
    parts = _parts(reply, ("question", "answer"))
    if isinstance(parts, str):
        return Drop(name, parts, (reply.error or reply.text)[:MAX_CHARS])
    fault = question_fault(parts["question"])
    if fault is None and repeats(parts["question"], "", prompt):
        fault = "repeats_prompt"
    if fault is None and parts["question"].lower() == item.question.lower():
        fault = "same_question"
    if fault is None and not says_not_told(parts["answer"], parts["question"]):
        fault = "no_refusal"
    return Drop(name, fault, reply.text[:MAX_CHARS]) if fault else _edge_case(name, "unanswerable", item, parts, None)


def _read_false_premise(item: QAItem, reply: Reply, prompt: str) -> QAItem | Drop:
    name = f"false_premise:generator:{item.id}"
    parts = _parts(reply, ("question", "false", "true", "answer"))
    if isinstance(parts, str):
        return Drop(name, parts, (reply.error or reply.text)[:MAX_CHARS])
    fault = question_fault(parts["question"])
    if fault is None and repeats(parts["question"], "", prompt):
        fault = "repeats_prompt"
    if fault is None and not holds(item.context, parts["true"]):
        fault = "true_value_not_in_text"
    if fault is None and holds(item.context, parts["false"]):
        fault = "false_value_in_text"
    if fault is None and not holds(parts["question"], parts["false"]):
        fault = "false_value_not_in_question"
    if fault is None and not holds(parts["answer"], parts["true"]):
        fault = "no_correction"
    if fault:
        return Drop(name, fault, reply.text[:MAX_CHARS])
    change = Change(type="generated", true=parts["true"], false=parts["false"])
    return _edge_case(name, "false_premise", item, parts, change)


def _edge_case(name: str, kind: Kind, item: QAItem, parts: dict[str, str], change: Change | None) -> QAItem | Drop:
    fault = text_fault("", parts["question"], parts["answer"], MAX_CHARS)
    if fault:
        return Drop(name, fault, parts["question"][:200].encode(errors="replace").decode())
    return QAItem(
        id=name,
        kind=kind,
        source=item.source,
        title=item.title,
        context=item.context,
        question=parts["question"],
        answer=parts["answer"],
        made_by="generator",
        change=change,
        question_of=item.id,
    )


def _parts(reply: Reply, keys: Sequence[str]) -> dict[str, str] | str:
    """The texts of a reply's JSON object, or why there are none."""
    if reply.finish_reason != "stop":
        return "failed_request" if reply.finish_reason == "error" else "cut_off"
    found = find_json_object(reply.text, dict.fromkeys(keys, (str, int, float, bool))) or {}
    values = {key: found.get(key) for key in keys}
    parts = {key: clean(str(v) if type(v) in (int, float, bool) else v) for key, v in values.items()}
    return parts if all(parts.values()) else "unparsable"


def _request(text: str, schema: dict[str, Any], settings: Settings) -> GenerateRequest:
    sampling = Sampling(max_tokens=settings.max_new_tokens, temperature=settings.temperature, seed=settings.seed)
    return GenerateRequest(
        prompt=Prompt(text=text),
        sampling=sampling,
        schema=schema,
        readable=lambda reply: not isinstance(_parts(reply, schema["required"]), str),
    )


def _schema(*keys: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key: {"type": "string", "minLength": 1, "maxLength": MAX_CHARS} for key in keys},
        "required": list(keys),
        "additionalProperties": False,
    }
