import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from stages.lib.judging.rating import SCORES, expectation, rate, score_prefix
from stages.lib.judging.validity import JudgedItem
from stages.lib.llm.protocol import GenerateRequest, Reply, Sampling, Score, ScoreRequest
from stages.lib.weights.models import ModelEntry

PROMPTS = {"groundedness": "C {context} Q {question} A {answer}", "relevance": "R {question}"}
ITEM = JudgedItem(question="Why?", answer="Because.", context="Text.", document="d")


@dataclass
class Replying:
    """Replies as told, and scores "5" as likely as all the others together."""

    replies: list[Reply]
    entry: ModelEntry = field(default_factory=lambda: ModelEntry(source="server:x", backend="openai"))
    generated: list[GenerateRequest] = field(default_factory=list)
    scored: list[ScoreRequest] = field(default_factory=list)

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        self.generated += requests
        return self.replies[: len(requests)]

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        self.scored += requests
        row = [math.log(0.125)] * 4 + [math.log(0.5)]
        return [Score(logprobs=tuple(row), tokens=(1,) * 5) for _ in requests]


def reply(text: str, finish_reason: str = "stop", error: str = "") -> Reply:
    return Reply(text=text, finish_reason=finish_reason, prompt_tokens=1, completion_tokens=1, error=error)  # type: ignore[arg-type]


GOOD = reply('{"rationale": "It \\"says\\" so.", "score": 4}')


def test_each_criterion_is_told_what_its_prompt_asks_for() -> None:
    model = Replying([GOOD, GOOD])
    asked = [("groundedness", ITEM), ("relevance", ITEM)]
    ratings = rate(asked, model, prompts=PROMPTS, sampling=Sampling(), expected_scores=False, progress="x")
    assert [request.prompt.text for request in model.generated] == ["C Text. Q Why? A Because.", "R Why?"]
    assert all(request.schema for request in model.generated)
    assert [(rating.score, rating.rationale, rating.expected) for rating in ratings] == [(4, 'It "says" so.', None)] * 2
    assert not model.scored


def test_the_expected_score_follows_the_judges_own_rationale() -> None:
    model = Replying([GOOD])
    (rating,) = rate(
        [("relevance", ITEM)], model, prompts=PROMPTS, sampling=Sampling(), expected_scores=True, progress="x"
    )
    assert rating.expected == pytest.approx(0.125 * (1 + 2 + 3 + 4) + 0.5 * 5)
    (request,) = model.scored
    assert request.choices == SCORES
    assert request.prompt.text == "R Why?"
    assert json.loads(request.prompt.answer_prefix + "3}") == {"rationale": 'It "says" so.', "score": 3}


def test_failures_to_score_are_failures() -> None:
    replies = [reply("", "error", "status 500"), reply("very good"), reply('{"rationale": "It', "length"), GOOD]
    model = Replying(replies)
    asked = [("relevance", ITEM)] * 4
    ratings = rate(asked, model, prompts=PROMPTS, sampling=Sampling(), expected_scores=True, progress="x")
    assert [rating.failure for rating in ratings] == ["failed_request", "unparsable", "cut_off", None]
    assert [rating.score for rating in ratings] == [None, None, None, 4]
    assert ratings[0].rationale == "status 500" and ratings[1].rationale == "very good"
    assert len(model.scored) == 1


def test_expectation_of_a_sure_and_of_an_unsure_judge() -> None:
    assert expectation([-1000.0, -1000.0, -1000.0, -1000.0, -900.0]) == pytest.approx(5.0)
    assert expectation([-3.0] * 5) == pytest.approx(3.0)


def test_the_prefix_keeps_letters_as_they_are() -> None:
    assert score_prefix("größer\n") == '{"rationale": "größer\\n", "score": '
