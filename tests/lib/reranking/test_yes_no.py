import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from stages.lib.llm.chat_text import plain
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.reranking.pair_scores import QueryDocument
from stages.lib.reranking.yes_no import YesNoReranker
from stages.lib.weights.models import ModelEntry, load_model_entry, locate

INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
PAIR = QueryDocument("What is the capital of China?", "The capital of China is Beijing.")


class FakeModel:
    """Answers every request alike and remembers what it was asked."""

    def __init__(self, logprobs: tuple[float, float], entry: ModelEntry, tokens: tuple[int, int] = (1, 1)) -> None:
        self.entry = entry
        self.answer = Score(logprobs=logprobs, tokens=tokens)
        self.requests: list[ScoreRequest] = []

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        raise AssertionError("a reranker generates nothing")

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        self.requests += requests
        return [self.answer for _ in requests]


def model(logprobs: tuple[float, float] = (-1.0, -2.0), tokens: tuple[int, int] = (1, 1), length: int = 0) -> FakeModel:
    # MiniLM's directory, for its tokenizer: a byte can be less than a token there, never more
    source = f"path:{locate(load_model_entry('minilm-l6'))}"
    entry = ModelEntry(source=source, backend="transformers", rerank_method="yes_no", max_length=length)
    return FakeModel(logprobs, entry, tokens)


def test_the_prompt_is_that_of_the_model_card() -> None:
    asked = model()
    YesNoReranker(asked, INSTRUCTION).score([PAIR])
    (request,) = asked.requests
    assert request.choices == ("yes", "no")
    assert not request.prompt.chat
    assert request.prompt.system == request.prompt.answer_prefix == ""
    assert plain(request.prompt) == (
        "<|im_start|>system\n"
        "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
        'Note that the answer can only be "yes" or "no".<|im_end|>\n'
        "<|im_start|>user\n"
        "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
        "<Query>: What is the capital of China?\n"
        "<Document>: The capital of China is Beijing.<|im_end|>\n"
        "<|im_start|>assistant\n"
        "<think>\n\n</think>\n\n"
    )


def test_placeholders_within_the_texts_stay() -> None:
    asked = model()
    YesNoReranker(asked, INSTRUCTION).score([QueryDocument("{document}", "{query}")])
    assert "<Query>: {document}\n<Document>: {query}<|im_end|>" in plain(asked.requests[0].prompt)


@pytest.mark.parametrize(
    ("logprobs", "probability"),
    [((math.log(0.3), math.log(0.1)), 0.75), ((-5.0, -5.0), 0.5), ((-2000.0, -1.0), 0.0), ((-1.0, -2000.0), 1.0)],
)
def test_the_score_is_the_softmax_over_yes_and_no(logprobs: tuple[float, float], probability: float) -> None:
    assert YesNoReranker(model(logprobs), INSTRUCTION).score([PAIR]).values[0] == pytest.approx(probability, abs=1e-5)


def test_a_long_document_loses_its_end_and_the_suffix_survives() -> None:
    asked = model(length=170)
    long = QueryDocument("a question", " ".join(f"word{i}" for i in range(400)))
    scored = YesNoReranker(asked, INSTRUCTION).score([PAIR, long])
    assert scored.truncated == 1
    short, cut = (plain(request.prompt) for request in asked.requests)
    assert short.endswith("Beijing.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert cut.endswith("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert "<Query>: a question\n<Document>: word0 word1" in cut
    reranker = YesNoReranker(asked, INSTRUCTION)
    # All that fits: 170 tokens with the answer's one, and what the tokenizer puts first.
    assert 1 + len(reranker._tokenizer(cut, add_special_tokens=False)["input_ids"]) == 169


def test_no_room_for_a_document() -> None:
    with pytest.raises(ValueError, match="max_length 20 leaves no room"):
        YesNoReranker(model(length=20), INSTRUCTION).score([PAIR])


def test_choices_of_several_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="one each"):
        YesNoReranker(model(tokens=(2, 1)), INSTRUCTION).score([PAIR])


def test_a_long_document_needs_a_tokenizer_here(tmp_path: Path) -> None:
    long = QueryDocument("q", "word " * 10_000)
    server = FakeModel((-1.0, -2.0), ModelEntry(source="server:m", backend="openai"))
    with pytest.raises(ValueError, match="cannot count the tokens"):
        YesNoReranker(server, INSTRUCTION).score([long])
    bare = FakeModel((-1.0, -2.0), ModelEntry(source=f"path:{tmp_path}", backend="transformers"))
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        YesNoReranker(bare, INSTRUCTION).score([long])
