"""Every caller of a model, where one request fails: that item alone is without a result, with the reason."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import stages.rerank
from stages.lib.chats.generated_edge_cases import write_unanswerable
from stages.lib.chats.qa_items import QAItem
from stages.lib.evaluation.win_rate import AnswerPair
from stages.lib.evaluation.win_rate import judge_by_likelihood as prefer_by_likelihood
from stages.lib.evaluation.win_rate import judge_by_rating as prefer_by_rating
from stages.lib.judging.judged import judge_by_likelihood, judge_by_rating
from stages.lib.judging.validity import JudgedItem
from stages.lib.judging.validity import Probe as WrongItem
from stages.lib.llm.protocol import GenerateRequest, Reply, Sampling, Score, ScoreRequest
from stages.lib.near_duplicates.duplication import judge_pairs
from stages.lib.reading.documents import Drop
from stages.lib.reranking.pair_scores import QueryDocument
from stages.lib.reranking.query_likelihood import QueryLikelihoodReranker
from stages.lib.reranking.yes_no import YesNoReranker
from stages.lib.search.top_k import TopK
from stages.lib.weights.models import ModelEntry
from stages.rerank import Corpus, Settings

WHY = "status 400: too long"
FAILED = "POISON"


@dataclass
class Failing:
    """Fails on what holds POISON."""

    method: Any = "rating"
    asked: int = 0
    reused: int = 0

    @property
    def entry(self) -> ModelEntry:
        return ModelEntry(source="server:x", backend="openai", judge_method=self.method)

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        said = {"rationale": "so \ud83d", "score": 4, "duplicate": True, "winner": "B", "question": "Why is it so?"}
        fine = Reply(text=json.dumps(said), finish_reason="stop", prompt_tokens=1, completion_tokens=1)
        return [Reply.refused(WHY) if FAILED in request.prompt.text else fine for request in requests]

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        return [
            Score.failed(WHY)
            if FAILED in request.prompt.text
            else Score(logprobs=(-1.0 - i % 3,) * len(request.choices), tokens=(1,) * len(request.choices))
            for i, request in enumerate(requests)
        ]


def items() -> list[JudgedItem]:
    return [
        JudgedItem(question=f"Why {i}?", answer="so", context=FAILED if i == 1 else "text", document=f"d{i}")
        for i in range(3)
    ]


def probes() -> list[WrongItem]:
    kinds = ("random_chunk", "random_question", "vague_question", "wrong_answer")
    return [WrongItem(kind=kind, index=0, item=items()[i]) for kind in kinds for i in range(2)]


def test_judging_by_rating() -> None:
    prompts = {"groundedness": "{context} {question} {answer}", "relevance": "{question}", "standalone": "{question}"}
    judged = judge_by_rating(
        items(), probes(), Failing(), prompts=prompts, sampling=Sampling(), expected_scores=True, name="x"
    )
    assert [field["failure"] for field in judged.fields] == [None, "groundedness failed_request", None]
    assert [field.get("error") for field in judged.fields] == [None, WHY, None]
    assert judged.fields[1]["relevance_score"] == 4
    assert judged.fields[0]["relevance_rationale"] == "so ?"  # which a file can hold
    assert judged.no_expected is not None and not any(judged.no_expected)


def test_judging_by_likelihood() -> None:
    prompts = {"answer_without_context_prompt": "{question}"}
    judged = judge_by_likelihood(items(), probes(), Failing("likelihood"), prompts=prompts, rarity={}, name="x")
    assert [field["failure"] for field in judged.fields] == [None] * 3
    lost = judge_by_likelihood(
        [replace(item, question=FAILED) for item in items()],
        [WrongItem(kind=probe.kind, index=0, item=replace(probe.item, question=FAILED)) for probe in probes()],
        Failing("likelihood"),
        prompts=prompts,
        rarity={},
        name="x",
    )
    assert {field["failure"] for field in lost.fields} == {"relevance failed_request"}
    assert lost.fields[1]["error"] == WHY and lost.fields[1]["relevance_score"] is None
    assert lost.measures["relevance"] == [None] * 3
    assert lost.fields[1]["groundedness_score"] is not None  # asks no model


@pytest.mark.parametrize("method", ["rating", "likelihood"])
def test_near_duplicates(method: str) -> None:
    pairs = [("one text", "another text"), (f"a {FAILED.lower()} text", "b"), ("three", "four")]
    model = Failing(method)
    if method == "rating":
        pairs[1] = (FAILED, "b")
    else:
        model.score = lambda requests, progress=None: [  # type: ignore[method-assign]
            Score.failed(WHY) if "poison" in r.prompt.text else Score(logprobs=(-1.0,), tokens=(1,)) for r in requests
        ]
    verdicts = judge_pairs(pairs, model, prompt="{first_document} {second_document}", max_tokens=9, excess_nats=1.0)
    assert [verdict.duplicate for verdict in verdicts] == [True, None, True]
    assert verdicts[1].why == WHY
    assert verdicts[0].why in ("so ?", "adds 0.00 nats")


def test_preferences() -> None:
    pairs = [
        AnswerPair(question=FAILED if i == 1 else f"q{i}", context="c", reference="r", first="a", second="b")
        for i in range(3)
    ]
    prompt = "{context} {question} {reference} {answer_a} {answer_b}"
    rated = prefer_by_rating(pairs, Failing(), prompt=prompt, max_tokens=9, progress="x")
    measured = prefer_by_likelihood(pairs, Failing(), prompt="{question} {answer}", margin=0.0, progress="x")
    for found in (rated, measured):
        assert [preference.outcome is None for preference in found] == [False, True, False]
        assert found[1].why == f"failed_request: {WHY}"
    assert rated[0].why == "so ? | so ?"


def test_edge_cases() -> None:
    one = QAItem(
        id="i", kind="selected", source="s", title="", context=FAILED, question="q?", answer="a", made_by="people"
    )
    settings = SimpleNamespace(max_new_tokens=9, temperature=0.0, seed=0)
    found = write_unanswerable([one], "{context} {question}", Failing(), settings)
    assert found == [Drop("unanswerable:generator:i", "failed_request", WHY)]


@pytest.mark.parametrize("method", ["likelihood", "yes_no"])
def test_reranking(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["first", FAILED, "third"]
    reranker: Any = QueryLikelihoodReranker(Failing(), "{document}")
    if method == "yes_no":
        reranker = YesNoReranker(Failing(), "which")
    assert np.isnan(reranker.score([QueryDocument("q", FAILED)]).values).all()
    found = TopK(indices=np.array([[1, 0, 2]]), scores=np.array([[0.9, 0.8, 0.7]]))
    corpus = Corpus(ids=["a", "b", "c"], texts=texts)
    settings = Settings(depth=3, dense_weight=0.0, fusion="z_score", rrf_k=60)
    question = [{"id": "q", "question": "what?"}]
    records, metrics = stages.rerank.rerank(
        question, corpus, found, reranker=reranker, settings=settings, progress="rerank x"
    )
    scores = {candidate["chunk"]: candidate["model_score"] for candidate in records[0]["candidates"]}
    assert scores["b"] is None and None not in (scores["a"], scores["c"])
    assert metrics["candidates"] == {"in": 3, "kept": 2, "dropped": {"below_depth": 0, "failed_request": 1}}
    assert f"1 of 3 pairs failed: 1 x {WHY}" in capsys.readouterr().err
    with pytest.raises(ValueError, match=f"3 of 3 pairs failed: 3 x {WHY}"):
        stages.rerank.rerank(
            question, Corpus(ids=["a", "b", "c"], texts=[FAILED] * 3), found, reranker=reranker, settings=settings,
            progress="rerank x",
        )  # fmt: skip
