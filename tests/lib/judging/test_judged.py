from collections.abc import Sequence
from dataclasses import replace

from stages.lib.judging.judged import judge_by_likelihood
from stages.lib.judging.validity import JudgedItem, Probe
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.weights.models import ModelEntry

PROMPTS = {"answer_without_context_prompt": "Q {question} A"}
ITEM = JudgedItem(
    question="How much oil does the red lamp burn?",
    answer="The red lamp burns 12 litres of oil.",
    context="The red lamp burns 12 litres of oil. Jonas Lind built its mast in 1887.",
    document="d",
)
WRONG = replace(ITEM, answer="Jonas Lind built its mast in 1887.")
ELSEWHERE = replace(ITEM, context="The moon is far.")


class Equal:
    """A model to which everything is as likely."""

    entry = ModelEntry(source="server:x", backend="openai")

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        raise AssertionError("a likelihood judge writes nothing")

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        return [Score(logprobs=(-1.0,), tokens=(1,)) for _ in requests]


def scores(probes: list[Probe]) -> list[float]:
    judged = judge_by_likelihood([ITEM, WRONG], probes, Equal(), prompts=PROMPTS, rarity={}, name="x")
    return [record["groundedness_score"] for record in judged.fields]


def test_an_answer_is_compared_with_wrong_answers_from_its_own_chunk() -> None:
    probes = [Probe(kind="random_chunk", index=0, item=ELSEWHERE), Probe(kind="wrong_answer", index=0, item=WRONG)]
    assert scores(probes) == [5.0, 3.0]  # above the one, level with it; the other chunk does not count


def test_changed_answers_count_with_the_wrong_ones() -> None:
    changed = replace(ITEM, answer="The red lamp burns 1887 litres of oil.")
    wrong = [Probe(kind="wrong_answer", index=0, item=WRONG), Probe(kind="altered_answer", index=0, item=changed)]
    assert scores(wrong) == [5.0, 4.0]


def test_other_chunks_are_the_measure_where_there_is_no_wrong_answer() -> None:
    assert scores([Probe(kind="random_chunk", index=0, item=ELSEWHERE)]) == [5.0, 5.0]
