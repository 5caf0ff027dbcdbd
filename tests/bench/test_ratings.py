"""The table of a model's ratings: one that reads the chunk tells right answers, one that says 5 to all does not."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.judged_items import human_cases
from bench.ratings import drawn, rows
from stages.lib.core.records import read_jsonl
from stages.lib.judging.validity import JudgedItem
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from tests.bench.test_judging import write_passages


class Rater:
    """Rates 5 where `sees` is not set, or the answer stands in the text; it never gives an expected score."""

    def __init__(self, sees: bool) -> None:
        self.sees = sees

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        """The ratings."""
        said = [json.dumps({"rationale": "So it is.", "score": self._score(one.prompt.text)}) for one in requests]
        return [Reply(text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=1) for text in said]

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        """No log-probabilities."""
        return [Score(logprobs=(), tokens=(), error="none here") for _ in requests]

    def _score(self, prompt: str) -> int:
        facts = re.findall(r"harbour of \w+ was|\d\d ferries leave", prompt)
        return 5 if not self.sees or len(set(facts)) < len(facts) else 2


@pytest.mark.parametrize("sees", [False, True])
def test_a_rater_that_says_five_to_all_is_at_chance(tmp_path: Path, sees: bool) -> None:
    write_passages(tmp_path)
    items = [case.item for case in human_cases(tmp_path, 1, 0)["people's, sentences"]]
    found = rows("people's, sentences", items, Rater(sees), tmp_path / "said.jsonl")  # type: ignore[arg-type]
    assert len(read_jsonl(tmp_path / "said_sentences.jsonl", ["question", "groundedness_score"])) == len(items)
    by_kind = {line.split(" | ")[2]: line for line in found if line.startswith("|")}
    assert "| 0.50 [" in by_kind["random_question"] and found[-1].endswith(
        "0 of 4 right items have a rating that failed"
    )
    assert ("| 0.50 [" in by_kind["random_chunk"]) != sees


def test_drawn_items_are_spread_over_the_documents() -> None:
    items = [JudgedItem(question=str(i), answer="a", context="c", document="d") for i in range(101)]
    assert [item.question for item in drawn(items, 3)] == ["0", "50", "100"]
    assert drawn(items[:2], 5) == items[:2]
