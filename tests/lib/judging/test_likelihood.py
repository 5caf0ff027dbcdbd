import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from stages.lib.judging.grounding import groundedness
from stages.lib.judging.likelihood import NEUTRAL_QUESTION, Measure, calibrated, measure, standalone, word_rarity
from stages.lib.judging.validity import Criterion, JudgedItem
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.weights.models import ModelEntry

PROMPTS = {"answer_without_context_prompt": "Q {question} A"}


@dataclass
class CountingWords:
    """A choice's log-probability is minus the number of its words that the prompt does not hold; a token a word."""

    entry: ModelEntry = field(default_factory=lambda: ModelEntry(source="server:x", backend="openai"))
    scored: list[ScoreRequest] = field(default_factory=list)

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        raise AssertionError("a likelihood judge writes nothing")

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        self.scored += requests
        return [self._score(request) for request in requests]

    def _score(self, request: ScoreRequest) -> Score:
        known = request.prompt.text.lower().split()
        words = [choice.lower().split() for choice in request.choices]
        return Score(
            logprobs=tuple(-float(sum(word not in known for word in choice)) for choice in words),
            tokens=tuple(len(choice) for choice in words),
        )


ITEM = JudgedItem(
    question="what lights the lamp", answer="the lamp burns oil", context="the lamp burns oil here", document="d"
)


def test_relevance_is_a_gain_a_token_and_groundedness_asks_no_model() -> None:
    model = CountingWords()
    asked: list[tuple[Criterion, JudgedItem]] = [("groundedness", ITEM), ("relevance", ITEM)]
    found = measure(asked, model, prompts=PROMPTS, rarity={}, progress="x")
    # Of "the lamp burns oil" the neutral question holds "the", the question adds "lamp".
    assert found[0].value == pytest.approx(groundedness(ITEM), abs=1e-6)
    assert found[1].value == pytest.approx(1 / 4)
    assert len(model.scored) == 2
    assert not any(request.prompt.chat for request in model.scored)
    assert any(NEUTRAL_QUESTION in request.prompt.text for request in model.scored)
    assert {request.choices for request in model.scored} == {(" the lamp burns oil",)}


def test_standalone_asks_no_model() -> None:
    model = CountingWords()
    rarity = word_rarity(["LoraConfig has a rank", "a rank", "the rank of it", "nothing"])
    assert measure([("standalone", ITEM)], model, prompts=PROMPTS, rarity=rarity, progress="x") == [Measure(0.0)]
    assert not model.scored
    assert standalone("What is the rank of LoraConfig?", rarity) == pytest.approx(
        math.log(4) + math.log(4 / 3), abs=1e-6
    )
    assert standalone("What is the rank of SomethingElse?", rarity) == pytest.approx(math.log(4 / 3), abs=1e-6)
    assert standalone("What does this function of LoraConfig return?", rarity) == 0.0


def test_a_score_is_one_plus_four_times_the_share_of_wrong_items_below() -> None:
    null = [0.0, 1.0, 2.0, 3.0]
    assert calibrated([-1.0, 9.0, 1.5, 1.0], null) == [1.0, 5.0, 3.0, 1 + 4 * 1.5 / 4]


def test_nothing_to_calibrate_by() -> None:
    with pytest.raises(ValueError, match="validity_pairs"):
        calibrated([1.0], [])


def test_the_words_of_one_text_alone_are_worth_something() -> None:
    assert word_rarity(["The lamp burns."])["lamp"] == pytest.approx(math.log(2))
    assert word_rarity(["The lamp burns.", "The lamp."])["lamp"] == 0.0
