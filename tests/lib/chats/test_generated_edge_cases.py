import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from stages.lib.chats.generated_edge_cases import write_premises, write_unanswerable
from stages.lib.chats.qa_items import Change, QAItem
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.reading.documents import Drop
from stages.lib.weights.models import ModelEntry

UNANSWERABLE = 'Text: {context} It answers: {question} Reply {"question": "...", "answer": "..."}'
FALSE = 'Text: {context} It answers: {question} with {answer}. Reply {"question": "..."}'
ITEM = QAItem(
    id="i",
    kind="selected",
    source="d",
    context="The rank of LoRA is 8 by default.",
    question="What is the rank of LoRA?",
    answer="8",
    made_by="tiny",
)


@dataclass(frozen=True)
class Settings:
    max_new_tokens: int = 50
    temperature: float = 0.0
    seed: int = 3


@dataclass
class Scripted:
    reply: Reply
    requests: list[GenerateRequest] = field(default_factory=list)

    @property
    def entry(self) -> ModelEntry:
        return ModelEntry(source="server:x", backend="openai")

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        self.requests += requests
        return [self.reply] * len(requests)

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        raise AssertionError


def said(text: str | dict[str, Any], finish_reason: Any = "stop") -> Reply:
    text = text if isinstance(text, str) else json.dumps(text)
    return Reply(text=text, finish_reason=finish_reason, prompt_tokens=1, completion_tokens=1)


GOOD_UNANSWERABLE = {"question": "What is the dropout of LoRA?", "answer": "The text does not say what the dropout is."}
GOOD_FALSE = {
    "question": "Why does LoRA take a rank of 32 by default?",
    "false": "32",
    "true": 8,
    "answer": "It does not: the default is 8.",
}


def test_a_good_reply_becomes_an_unanswerable_question() -> None:
    model = Scripted(said(GOOD_UNANSWERABLE))
    (found,) = write_unanswerable([ITEM], UNANSWERABLE, model, Settings())
    assert isinstance(found, QAItem)
    assert (found.kind, found.made_by, found.question_of) == ("unanswerable", "generator", "i")
    assert (found.context, found.question, found.answer) == (ITEM.context, *GOOD_UNANSWERABLE.values())
    (request,) = model.requests
    assert ITEM.context in request.prompt.text and ITEM.question in request.prompt.text
    assert request.sampling.seed == 3 and request.schema is not None
    assert write_unanswerable([], UNANSWERABLE, model, Settings()) == []


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (said("none"), "unparsable"),
        (said({"question": "What is it of LoRA?"}), "unparsable"),
        (said('{"question": "What', "length"), "cut_off"),
        (Reply.refused("status 500"), "failed_request"),
        (said(GOOD_UNANSWERABLE | {"question": "The dropout."}), "not_a_question"),
        (said(GOOD_UNANSWERABLE | {"question": "What does this passage say of LoRA?"}), "refers_to_context"),
        (said(GOOD_UNANSWERABLE | {"question": "What is the Rank of LoRA?"}), "same_question"),
        (said(GOOD_UNANSWERABLE | {"answer": "It is 0.1."}), "no_refusal"),
        (said(GOOD_UNANSWERABLE | {"answer": "It is not mentioned. <|user|>"}), "holds_role_token"),
        (said(GOOD_UNANSWERABLE | {"answer": "It is not mentioned. \ud83d"}), "invalid_unicode"),
    ],
)
def test_bad_unanswerable_questions_are_dropped(reply: Reply, reason: str) -> None:
    (found,) = write_unanswerable([ITEM], UNANSWERABLE, Scripted(reply), Settings())
    assert isinstance(found, Drop)
    assert (found.source, found.reason) == ("unanswerable:generator:i", reason)
    found.detail.encode()


def written(prompt: str, reply: Reply) -> tuple[QAItem | Drop, QAItem | Drop]:
    """The false and the true premise that a reply makes of ITEM."""
    sides = write_premises([ITEM], prompt, '"{evidence}"', Scripted(reply), Settings())
    false, true = (side["i"] if isinstance(side["i"], Drop) else side["i"]["generated"].in_form(0) for side in sides)
    return false, true


def test_a_good_reply_becomes_a_false_premise_and_a_true_one() -> None:
    found, true = written(FALSE, said(GOOD_FALSE))
    assert isinstance(found, QAItem) and isinstance(true, QAItem)
    assert (found.kind, found.change) == ("false_premise", Change(type="generated", true="8", false="32"))
    assert (true.kind, true.question) == ("true_premise", "Why does LoRA take a rank of 8 by default?")
    assert (true.answer, true.change, true.question_of) == ('"The rank of LoRA is 8 by default."', None, "i")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"true": "9"}, "true_value_not_in_text"),
        ({"false": "default", "question": "Why is it the default of LoRA?"}, "false_value_in_text"),
        ({"false": "64"}, "false_value_not_in_question"),
        ({"answer": "It does not."}, "no_correction"),
        ({"answer": ""}, "unparsable"),
    ],
)
def test_bad_false_premises_are_dropped(change: dict[str, str], reason: str) -> None:
    found, true = written(FALSE, said(GOOD_FALSE | change))
    assert isinstance(found, Drop) and isinstance(true, Drop)
    assert found.reason == true.reason == reason


def test_the_prompts_own_words_are_no_question() -> None:
    prompt = "Example: Why does LoRA take a rank of 32 by default? {context} {question} {answer}"
    found, _ = written(prompt, said(GOOD_FALSE))
    assert isinstance(found, Drop)
    assert found.reason == "repeats_prompt"
