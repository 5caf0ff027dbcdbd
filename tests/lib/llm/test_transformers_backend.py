from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.lib.llm.protocol import GenerateRequest, Prompt, Reply, Sampling, Score, ScoreRequest
from stages.lib.llm.transformers_backend import TransformersBackend
from stages.lib.weights.models import ModelEntry

HEAD = "the question about apples and oranges, answer one or two. "
TEXTS = [HEAD + "three four " * n + f"the user {n}" for n in (3, 0, 7, 1, 12, 5, 2)]


@pytest.fixture(scope="module")
def backend(tiny_directory: Path) -> TransformersBackend:
    return TransformersBackend(ModelEntry(source=f"path:{tiny_directory}", backend="transformers", batch_size=3))


@pytest.fixture(scope="module")
def plain(tiny_directory: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(tiny_directory), AutoTokenizer.from_pretrained(tiny_directory)


def replies(backend: TransformersBackend, requests: Sequence[GenerateRequest]) -> list[Reply]:
    found = dict(pair for batch in backend.generate(requests, range(len(requests))) for pair in batch)
    return [found[i] for i in range(len(requests))]


def scores(backend: TransformersBackend, requests: Sequence[ScoreRequest]) -> list[Score]:
    found = dict(pair for batch in backend.score(requests, range(len(requests))) for pair in batch)
    return [found[i] for i in range(len(requests))]


def requests_for(texts: Sequence[str], **sampling: Any) -> list[GenerateRequest]:
    return [
        GenerateRequest(prompt=Prompt(text=text), sampling=Sampling(**{"max_tokens": 12, **sampling})) for text in texts
    ]


def test_greedy_replies_equal_those_of_model_generate_one_by_one(
    backend: TransformersBackend, plain: tuple[Any, Any]
) -> None:
    model, tokenizer = plain
    for reply, text in zip(replies(backend, requests_for(TEXTS)), TEXTS, strict=True):
        turns = [{"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        whole = model.generate(ids, max_new_tokens=12, do_sample=False)[0]
        new = whole[ids.shape[1] :]
        assert reply.text == tokenizer.decode(new, skip_special_tokens=True)
        assert reply.prompt_tokens == ids.shape[1]
        assert reply.completion_tokens == int((new != tokenizer.eos_token_id).sum())
        assert reply.finish_reason == ("stop" if tokenizer.eos_token_id in new else "length")


def test_scores_equal_those_of_whole_texts_one_by_one(backend: TransformersBackend, plain: tuple[Any, Any]) -> None:
    model, tokenizer = plain
    choices = (" one", " two three", " two four apples", "x")
    asked = [
        ScoreRequest(prompt=Prompt(text=text, chat=False), choices=choices[: 2 + i % 3]) for i, text in enumerate(TEXTS)
    ]
    asked += [ScoreRequest(prompt=Prompt(text=TEXTS[0], chat=False), choices=(" assistant",))]
    for request, score in zip(asked, scores(backend, asked), strict=True):
        prompt = tokenizer.encode(request.prompt.text)
        for choice, logprob, tokens in zip(request.choices, score.logprobs, score.tokens, strict=True):
            ids = tokenizer.encode(choice)
            with torch.no_grad():
                logits = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
            expected = sum(float(logits[len(prompt) + k - 1, token]) for k, token in enumerate(ids))
            assert logprob == pytest.approx(expected, abs=1e-4)
            assert tokens == len(ids)


def test_answers_have_the_same_bits_on_any_number_of_cores(tiny_directory: Path) -> None:
    asked = [ScoreRequest(prompt=Prompt(text=text * 20, chat=False), choices=(" one", " two three")) for text in TEXTS]
    found = []
    for cores in (1, 2):
        torch.set_num_threads(cores)
        entry = ModelEntry(source=f"path:{tiny_directory}", backend="transformers", batch_size=3)
        backend = TransformersBackend(entry)
        found.append((scores(backend, asked), replies(backend, requests_for(TEXTS, temperature=0.7))))
        assert torch.get_num_threads() == cores
    assert found[0] == found[1]


def test_what_is_missing_is_answered_alone_and_alike(backend: TransformersBackend) -> None:
    asked = requests_for(TEXTS)
    whole = replies(backend, asked)
    part = dict(pair for batch in backend.generate(asked, [1, 4]) for pair in batch)
    assert part == {1: whole[1], 4: whole[4]}
    scored = [ScoreRequest(prompt=Prompt(text=text), choices=("one", "two")) for text in TEXTS]
    some = dict(pair for batch in backend.score(scored, [5, 2]) for pair in batch)
    assert sorted(some) == [2, 5]
    assert some[2].logprobs == pytest.approx(scores(backend, scored)[2].logprobs, abs=1e-4)


def test_whole_batches_are_computed_as_in_an_uninterrupted_run(backend: TransformersBackend) -> None:
    asked = requests_for(TEXTS)
    batches = list(backend.generate(asked, range(len(asked))))
    rest = [i for batch in batches[1:] for i, _ in batch]
    assert list(backend.generate(asked, rest)) == batches[1:]


def test_a_sampled_reply_depends_on_its_seed_and_not_on_its_neighbours(backend: TransformersBackend) -> None:
    hot = requests_for(TEXTS, temperature=1.5, top_p=0.9, seed=3)
    together = replies(backend, hot)
    assert [replies(backend, [request])[0] for request in hot] == together
    assert replies(backend, requests_for(TEXTS, temperature=1.5, top_p=0.9, seed=4)) != together


def test_a_tiny_nucleus_is_greedy(backend: TransformersBackend) -> None:
    sampled = replies(backend, requests_for(TEXTS, temperature=1.0, top_p=1e-6))
    assert [reply.text for reply in sampled] == [reply.text for reply in replies(backend, requests_for(TEXTS))]


def test_a_reply_ends_before_a_stop_string(backend: TransformersBackend) -> None:
    free = replies(backend, requests_for(TEXTS[:1]))[0]
    stop = free.text[3:5]
    cut = replies(backend, requests_for(TEXTS[:1], stop=(stop,)))[0]
    assert cut.text == free.text[: free.text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.completion_tokens <= free.completion_tokens


def test_the_answer_prefix_is_read_and_not_returned(backend: TransformersBackend, plain: tuple[Any, Any]) -> None:
    request = GenerateRequest(
        prompt=Prompt(text="the", chat=False, answer_prefix=" answer"), sampling=Sampling(max_tokens=5)
    )
    model, tokenizer = plain
    ids = tokenizer("the answer", return_tensors="pt")["input_ids"]
    expected = tokenizer.decode(model.generate(ids, max_new_tokens=5, do_sample=False)[0][ids.shape[1] :])
    assert replies(backend, [request])[0].text == expected


def test_a_schema_binds_every_token(backend: TransformersBackend) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    asked = [
        GenerateRequest(prompt=Prompt(text=text), sampling=Sampling(max_tokens=40, temperature=t), schema=schema)
        for text, t in zip(TEXTS, (0, 1, 0, 1, 0, 1, 0), strict=True)
    ]
    found = replies(backend, asked)
    assert {reply.text for reply in found} == {'{"n": 1}', '{"n": 2}'}
    assert {reply.finish_reason for reply in found} == {"stop"}
    with pytest.raises(ValueError, match="llguidance"):
        replies(backend, [GenerateRequest(prompt=Prompt(text="a"), schema={"type": "no such type"})])


def test_a_prompt_that_does_not_fit_is_an_error_of_its_own(backend: TransformersBackend) -> None:
    long = "apples " * 600
    found = replies(backend, requests_for([TEXTS[0], long]))
    assert found[0].finish_reason != "error"
    assert found[1].finish_reason == "error"
    assert "512" in found[1].error
    scored = scores(backend, [ScoreRequest(prompt=Prompt(text=text), choices=("one",)) for text in (long, TEXTS[0])])
    assert "the model takes 1 to 512" in scored[0].error and scored[0].logprobs == ()
    assert scored[1] == scores(backend, [ScoreRequest(prompt=Prompt(text=TEXTS[0]), choices=("one",))])[0]


def with_config(directory: Path, copy: Path, **values: object) -> TransformersBackend:
    """A copy of a model whose config.json says something else."""
    import json
    import shutil

    shutil.copytree(directory, copy)
    config = json.loads((copy / "config.json").read_text()) | values
    (copy / "config.json").write_text(json.dumps(config))
    return TransformersBackend(ModelEntry(source=f"path:{copy}", backend="transformers"))


def test_a_model_all_of_whose_layers_slide_runs_up_to_its_window(tiny_directory: Path, tmp_path: Path) -> None:
    mistral = {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    sliding = with_config(tiny_directory, tmp_path / "sliding", sliding_window=200, **mistral)
    full = with_config(tiny_directory, tmp_path / "full", sliding_window=None, **mistral)
    asked = requests_for([*TEXTS[:2], "one two three " * 60])
    found, expected = replies(sliding, asked), replies(full, asked)
    assert found[:2] == expected[:2]
    assert "the model takes 200" in found[2].error
    assert expected[2].finish_reason != "error"


def test_sliding_layers_between_others_are_refused(tiny_directory: Path, tmp_path: Path) -> None:
    backend = with_config(
        tiny_directory,
        tmp_path / "mixed",
        model_type="qwen2",
        architectures=["Qwen2ForCausalLM"],
        sliding_window=16,
        use_sliding_window=True,
        max_window_layers=1,
    )
    with pytest.raises(ValueError, match="sliding window 16"):
        replies(backend, requests_for(TEXTS[:1]))
