"""vllm against transformers on real text: the same weights, float32, 200 scores and what else the stages ask for.

Run: make test-vllm   (or, with vllm installed: pytest -m vllm). The figures are printed (-s) and in docs/vllm.md.
"""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stages.lib.llm.protocol import Backend, GenerateRequest, Prompt, Reply, Sampling, Score, ScoreRequest
from stages.lib.qa.question_writing import SCHEMA
from stages.lib.weights.models import ModelEntry
from tests.lib.llm.vllm_pairs import asked_texts, score_requests

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vllm is not installed: make test-vllm", allow_module_level=True)

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

PAIRS = 200
REPLIES = 8
Backends = tuple[Backend, Backend]  # vllm, transformers


@pytest.fixture(scope="module")
def backends(vllm_directory: Path) -> Iterator[Backends]:
    from stages.lib.llm.transformers_backend import TransformersBackend
    from stages.lib.llm.vllm_backend import VllmBackend

    source = f"path:{vllm_directory}"
    engine = VllmBackend(ModelEntry(source=source, backend="vllm", context=1024, dtype="float32"))
    peer = TransformersBackend(ModelEntry(source=source, backend="transformers", dtype="float32"))
    yield engine, peer
    engine.close()
    peer.close()


def scores(backend: Backend, asked: list[ScoreRequest]) -> list[Score]:
    found = dict(pair for batch in backend.score(asked, range(len(asked))) for pair in batch)
    return [found[i] for i in range(len(asked))]


def replies(backend: Backend, asked: list[GenerateRequest]) -> list[Reply]:
    found = dict(pair for batch in backend.generate(asked, range(len(asked))) for pair in batch)
    return [found[i] for i in range(len(asked))]


def test_scores_of_200_answers(backends: Backends) -> None:
    from scipy.stats import spearmanr

    asked = score_requests(PAIRS)
    ours, peers = (scores(backend, asked) for backend in backends)
    assert [one.tokens for one in ours] == [one.tokens for one in peers]
    per_token = np.array([[one.per_token for one in found] for found in (ours, peers)], dtype=np.float64)  # (2, PAIRS)
    apart = np.abs(per_token[0] - per_token[1]).max()
    rank = spearmanr(*per_token).statistic
    matched = per_token[0, 1::2] > per_token[0, 0::2]
    print(
        f"{PAIRS} scores: at most {apart:.2g} nats a token apart, Spearman {rank:.6f}; spread {per_token[0].std():.2f}"
    )
    assert apart <= 0.01
    assert rank >= 0.98
    assert matched.mean() > 0.7, "a text's own answer is likelier than another text's, or nothing was measured"


def test_scores_of_choices_of_one_token(backends: Backends) -> None:
    asked = [
        ScoreRequest(prompt=Prompt(text=f"{one.text}\n\nIs this about a parameter?"), choices=("1", "2", "3", "4", "5"))
        for one in asked_texts(REPLIES)
    ]
    for ours, peers in zip(*(scores(backend, asked) for backend in backends), strict=True):
        assert ours.logprobs == pytest.approx(peers.logprobs, abs=0.01)


def test_greedy_replies(backends: Backends) -> None:
    sampling = Sampling(max_tokens=48)
    asked = [
        GenerateRequest(prompt=Prompt(text=f"{one.text}\n\n{one.question}"), sampling=sampling)
        for one in asked_texts(REPLIES)
    ]
    ours, peers = (replies(backend, asked) for backend in backends)
    same = sum(one.text == other.text for one, other in zip(ours, peers, strict=True))
    print(f"greedy: {same} of {REPLIES} replies of up to 48 tokens are the same to the last letter")
    for one, other in zip(ours, peers, strict=True):
        assert one.prompt_tokens == other.prompt_tokens
        assert one.text[:20] == other.text[:20]
    assert same >= REPLIES / 2  # float32 sums in another order: two tokens almost equally likely may change places


def test_replies_by_a_schema_and_a_choice(backends: Backends) -> None:
    choice = {"type": "string", "enum": ["a function", "a class", "a parameter"]}
    sampling = Sampling(max_tokens=160)
    texts = [one.text for one in asked_texts(REPLIES)]
    pairs = [
        GenerateRequest(
            prompt=Prompt(text=f"{text}\n\nA question and its answer as JSON:"), schema=SCHEMA, sampling=sampling
        )
        for text in texts
    ]
    kinds = [GenerateRequest(prompt=Prompt(text=f"{text}\n\nWhat is this?"), schema=choice) for text in texts]
    complete = 0
    found = replies(backends[0], [*pairs, *kinds])
    for reply in found[:REPLIES]:
        assert reply.text.startswith("{")
        if reply.finish_reason == "stop":  # the others are cut off
            pair = json.loads(reply.text)
            assert set(pair) == {"question", "answer"} and 10 <= len(pair["question"]) <= 300
            complete += 1
    print(f"schema: {complete} of {REPLIES} replies ended within {sampling.max_tokens} tokens, all of them as it says")
    assert complete >= REPLIES / 2
    assert all(json.loads(reply.text) in choice["enum"] for reply in found[REPLIES:])
