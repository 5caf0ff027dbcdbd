"""Replies that share their prompt: the same as without sharing, with and without an adapter."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from stages.lib.grpo.rollouts import choose_tokens, distinct_rows, sample_replies

PROMPTS = [[5, 6, 7, 8], [9, 10], [5, 6, 7, 8], [11, 12, 13, 14, 15, 16], [9, 10]]


@pytest.fixture
def model(tiny_directory: Path) -> Any:
    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(tiny_directory, dtype=torch.float32).eval()


@pytest.fixture
def tuned(model: Any) -> Any:
    torch.manual_seed(1)
    peft = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False))
    return peft.eval()


def by_generate(model: Any, prompt: list[int], ends: list[int], tokens: int) -> list[int]:
    """The model's own greedy reply."""
    out = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=0,
    )
    reply: list[int] = out[0, len(prompt) :].tolist()
    return reply


def test_distinct_rows_keep_their_order() -> None:
    assert distinct_rows([[2], [1], [2]]) == ([[2], [1]], [0, 1, 0])


@pytest.mark.parametrize("batch", [0, 2])
def test_greedy_replies_are_generates(model: Any, batch: int) -> None:
    # An end token that some replies reach early, so that rows leave the batch.
    free = [by_generate(model, prompt, [0], 12) for prompt in PROMPTS]
    ends = [free[0][3], 0]
    expected = [by_generate(model, prompt, ends, 12) for prompt in PROMPTS]
    assert len({len(reply) for reply in expected}) > 1
    found = sample_replies(model, PROMPTS, max_tokens=12, temperature=0.0, ends=ends, seed=0, batch=batch)
    assert found == expected


def test_each_reply_follows_its_own_prompt(model: Any) -> None:
    prompts = [[5, 6], [9, 10], [5, 6]]  # of one length, so that they stay in this order
    expected = [by_generate(model, prompt, [0], 6) for prompt in prompts]
    assert expected[0] != expected[1]
    assert sample_replies(model, prompts, max_tokens=6, temperature=0.0, ends=[0], seed=0) == expected


def test_a_reply_that_ends_alone_stays_ended(model: Any) -> None:
    """One of eight: too few rows leave for the batch to be made smaller."""
    prompts = [[i, i + 1, 2 * i] for i in range(5, 13)]
    free = [by_generate(model, prompt, [0], 10) for prompt in prompts]
    first = {
        token: [reply.index(token) if token in reply else 10 for reply in free] for reply in free for token in reply
    }
    end = next(token for token, at in first.items() if sorted(at)[0] < 5 and sorted(at)[1] > sorted(at)[0] + 1)
    found = sample_replies(model, prompts, max_tokens=10, temperature=0.0, ends=[end, 0], seed=0)
    assert found == [by_generate(model, prompt, [end, 0], 10) for prompt in prompts]


def test_sampling_follows_the_seed_and_the_distribution(model: Any) -> None:
    prompts = [[5, 6, 7, 8]] * 600
    one, same, other = (
        sample_replies(model, prompts, max_tokens=1, temperature=2.0, ends=[0], seed=seed) for seed in (0, 0, 1)
    )
    assert one == same != other
    with torch.no_grad():
        probabilities = (model(torch.tensor([[5, 6, 7, 8]])).logits[0, -1] / 2.0).softmax(-1)
    likeliest = int(probabilities.argmax())
    share = sum(reply == [likeliest] for reply in one) / 600
    assert share == pytest.approx(float(probabilities[likeliest]), abs=0.08)


def test_a_reply_is_drawn_by_its_number_whoever_writes_the_others(model: Any) -> None:
    knobs: dict[str, Any] = {"max_tokens": 8, "temperature": 1.5, "ends": [0, *range(20, 60)], "seed": 3}
    whole = sample_replies(model, PROMPTS, **knobs)
    assert len({len(reply) for reply in whole}) > 1  # some leave the batch early
    halves = [sample_replies(model, PROMPTS[at:to], first=at, **knobs) for at, to in ((0, 2), (2, 5))]
    assert whole == halves[0] + halves[1]
    assert whole[0] != whole[2]  # of one prompt


def test_temperature_0_is_the_likeliest() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    assert choose_tokens(logits, 0.0, torch.rand(2)).tolist() == [1, 0]


def test_an_adapters_replies_are_generates(tuned: Any) -> None:
    assert sample_replies(tuned, PROMPTS, max_tokens=8, temperature=0.0, ends=[0], seed=0) == [
        by_generate(tuned, prompt, [0], 8) for prompt in PROMPTS
    ]
