from collections.abc import Sequence

import pytest

from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.near_duplicates.duplication import Verdict, excess_surprise, judge_pairs
from stages.lib.weights.models import ModelEntry

PROMPT = "One: {first_document}\nOther: {second_document}"


class Scripted:
    """Answers from a script, or scores a choice by how many of its words the prompt lacks."""

    def __init__(self, *replies: str, rating: bool = True) -> None:
        self.entry = ModelEntry(
            source="path:nowhere", backend="transformers", judge_method="rating" if rating else "likelihood"
        )
        self.replies = list(replies)
        self.generated: list[GenerateRequest] = []
        self.scored: list[ScoreRequest] = []

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        self.generated += requests
        answers: list[Reply] = []
        for _ in requests:
            text = self.replies.pop(0)
            answers.append(
                Reply.refused(text.removeprefix("!"))
                if text.startswith("!")
                else Reply(text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=1)
            )
        return answers

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        self.scored += requests
        scores = []
        for request in requests:
            known = request.prompt.text.split()
            words = request.choices[0].split()
            scores.append(Score(logprobs=(-sum(1.0 if w in known else 8.0 for w in words),), tokens=(len(words),)))
        return scores


def judged(model: Scripted, *pairs: tuple[str, str]) -> list[Verdict]:
    return judge_pairs(pairs, model, prompt=PROMPT, max_tokens=50, excess_nats=3.0)


def test_a_rating_is_read_with_its_rationale() -> None:
    model = Scripted(
        '{"rationale": "same", "duplicate": true}', 'Well:\n```json\n{"rationale": "no", "duplicate": false}\n```'
    )
    assert judged(model, ("a", "b"), ("c", "d")) == [Verdict(True, "same"), Verdict(False, "no")]
    assert [request.prompt.text for request in model.generated] == ["One: a\nOther: b", "One: c\nOther: d"]
    assert model.generated[0].schema is not None and model.generated[0].sampling.max_tokens == 50


@pytest.mark.parametrize(
    "reply", ["", "yes, they are", '{"rationale": "cut', '{"duplicate": "true"}', "[true]", '{"rationale": "x"}']
)
def test_what_is_no_verdict_is_a_failure(reply: str) -> None:
    (verdict,) = judged(Scripted(reply), ("a", "b"))
    assert verdict.duplicate is None and "unparsable" in verdict.why


def test_an_engine_that_refuses_is_a_failure_with_its_error() -> None:
    assert judged(Scripted("!prompt too long"), ("a", "b")) == [Verdict(None, "prompt too long")]


def test_a_difference_in_form_adds_nothing_and_is_not_asked_about() -> None:
    model = Scripted(rating=False)
    pair = ("Sets the `rank` (List[str]).\n\nDefaults to **None**", "sets the rank (list[str]); defaults to None.")
    assert excess_surprise([pair], model) == [0.0]
    assert not model.scored


def test_the_direction_that_adds_more_counts() -> None:
    model = Scripted(rating=False)
    more, less = "sets the rank of the adapter matrices", "sets the rank"
    added = 7.0 * len({"of", "adapter", "matrices"})
    assert excess_surprise([(more, less), (less, more)], model) == [added, added]
    assert [verdict.duplicate for verdict in judged(model, (more, less), (more, more))] == [False, True]
    assert all(not request.prompt.chat for request in model.scored)


@pytest.mark.parametrize(
    "pair", [("kept thirty days", "kept ninety days"), ("显示", "隐藏"), ("short", "a longer one")]
)
def test_texts_of_one_length_add_to_each_other(pair: tuple[str, str]) -> None:
    added = excess_surprise([pair, pair[::-1]], Scripted(rating=False))
    assert all(isinstance(nats, float) and nats >= 7.0 for nats in added)


def test_what_adds_enough_is_not_asked_the_other_way_round() -> None:
    model = Scripted(rating=False)
    assert excess_surprise([("sets the rank", "sets the rank of it"), ("a lamp", "a lamp")], model, 3.0) == [14.0, 0.0]
    assert len(model.scored) == 2
    assert excess_surprise([("sets the rank of it", "sets the rank")] * 2, model, 20.0) == [14.0, 14.0]
    assert len(model.scored) == 2 + 4


def test_what_adds_just_the_threshold_is_a_duplicate() -> None:
    # The word that the other text lacks costs 8 nats instead of 1.
    pair = ("the red lamp", "the red lamps")
    model = Scripted(rating=False)
    assert excess_surprise([pair], model) == [7.0]
    for threshold, duplicate in ((7.0, True), (6.9, False)):
        (verdict,) = judge_pairs([pair], model, prompt=PROMPT, max_tokens=50, excess_nats=threshold)
        assert verdict.duplicate is duplicate
