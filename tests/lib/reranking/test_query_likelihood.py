from collections.abc import Sequence

import pytest

from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.reranking.pair_scores import QueryDocument
from stages.lib.reranking.query_likelihood import QueryLikelihoodReranker
from stages.lib.weights.models import ModelEntry


class SharedWords:
    """The more of the question's words the prompt holds, the more probable the question."""

    def __init__(self) -> None:
        self.entry = ModelEntry(source="server:m", backend="openai", rerank_method="likelihood")
        self.requests: list[ScoreRequest] = []

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        raise AssertionError("a reranker generates nothing")

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        self.requests += requests
        scores = []
        for request in requests:
            words = request.choices[0].split()
            logprob = sum(-1.0 if word in request.prompt.text.split() else -3.0 for word in words)
            scores.append(Score(logprobs=(logprob,), tokens=(len(words),)))
        return scores


def test_scores_are_mean_log_probabilities_of_the_question() -> None:
    model = SharedWords()
    reranker = QueryLikelihoodReranker(model, "Passage: {document}\n\nQuestion:\n")
    scored = reranker.score(
        [QueryDocument("who likes apples", "Ann likes apples"), QueryDocument(" who likes apples ", "nothing")]
    )
    assert scored.values.tolist() == [pytest.approx(-5 / 3, abs=1e-5), -3.0]
    assert scored.truncated == 0
    # The question follows the prompt's last word after one blank; chunk first, so that it is computed once.
    assert [request.prompt.text for request in model.requests] == [
        "Passage: Ann likes apples\n\nQuestion:",
        "Passage: nothing\n\nQuestion:",
    ]
    assert {request.choices for request in model.requests} == {(" who likes apples",)}
    assert not any(request.prompt.chat for request in model.requests)


def test_a_prompt_without_its_placeholder_is_refused() -> None:
    with pytest.raises(ValueError, match="document"):
        QueryLikelihoodReranker(SharedWords(), "Question:").score([QueryDocument("q", "d")])
