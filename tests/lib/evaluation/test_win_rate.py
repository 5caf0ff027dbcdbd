"""Verdicts in both orders, disagreement, failures; the likelihood's direction and margin."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from stages.lib.evaluation.win_rate import AnswerPair, judge_by_likelihood, judge_by_rating
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.weights.models import ModelEntry

PROMPT = "{context} {question} {reference} A: {answer_a} B: {answer_b}"
PAIRS = [
    AnswerPair(question="q", context="c", reference="r", first="bad", second="good"),
    AnswerPair(question="q", context="c", reference="r", first="good", second="bad"),
    AnswerPair(question="q", context="c", reference="r", first="same", second="same "),
]


class Judge:
    """A judge by rule."""

    entry = ModelEntry(source="path:nowhere", backend="transformers")

    def __init__(self, rule: Any) -> None:
        self.rule = rule
        self.asked: list[Any] = []

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        self.asked += requests
        texts = [self.rule(request.prompt.text) for request in requests]
        return [Reply(text=t, finish_reason="stop", prompt_tokens=1, completion_tokens=1) for t in texts]

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        return [Score(logprobs=(self.rule(r.prompt.text),), tokens=(2,)) for r in requests]


def rate(rule: Any) -> tuple[Judge, list[Any]]:
    judge = Judge(rule)
    return judge, judge_by_rating(PAIRS, judge, prompt=PROMPT, max_tokens=9, progress="test")


def named(winner: str) -> str:
    return json.dumps({"rationale": "because", "winner": winner})


def test_a_judge_that_reads_gives_the_better_answer_the_win_in_both_orders() -> None:
    judge, verdicts = rate(lambda text: named("A" if "A: good" in text else "B"))
    assert [verdict.outcome for verdict in verdicts] == ["win", "loss", "tie"]
    assert not any(verdict.disagreed for verdict in verdicts)
    assert len(judge.asked) == 4  # equal answers are not asked about
    assert verdicts[0].why == "because | because"


def test_a_judge_that_takes_the_first_gives_ties() -> None:
    _, verdicts = rate(lambda text: named("A"))
    assert [(verdict.outcome, verdict.disagreed) for verdict in verdicts] == [("tie", True)] * 2 + [("tie", False)]


def test_what_is_no_verdict_fails() -> None:
    _, verdicts = rate(lambda text: "I like B")
    assert [(verdict.outcome, verdict.why) for verdict in verdicts[:2]] == [(None, "unparsable")] * 2


@pytest.mark.parametrize(
    ("margin", "expected"), [(0.1, ["win", "loss", "tie"]), (1.5, ["tie"] * 3), (2.0, ["tie"] * 3)]
)
def test_the_answer_that_tells_more_about_the_reference_wins(margin: float, expected: list[str]) -> None:
    judge = Judge(lambda text: -1.0 if "good" in text else -4.0)  # 1.5 nats per token apart
    found = judge_by_likelihood(PAIRS, judge, prompt="{question} {answer}", margin=margin, progress="test")
    assert [verdict.outcome for verdict in found] == expected
