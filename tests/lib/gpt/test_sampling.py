from typing import Any

import pytest
import torch
from transformers import LogitsProcessorList
from transformers.generation import logits_process as reference

from stages.lib.gpt.sampling import (
    PRESETS,
    TokenSampling,
    adjust,
    choose,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    sequence_generator,
)

BATCH, VOCABULARY = 5, 37


def some_logits(seed: int = 0) -> torch.Tensor:
    return torch.randn(BATCH, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -0.1}, "temperature: -0.1 is not a number from 0"),
        ({"temperature": float("nan")}, "temperature: nan"),
        ({"top_k": -1}, "top_k: -1 is below 0"),
        ({"top_p": 0.0}, "top_p: 0.0 is not above 0"),
        ({"top_p": 1.1}, "top_p: 1.1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty: 0.0 is not above 0"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenSampling(**values)


def test_presets() -> None:
    assert PRESETS["conservative"] == TokenSampling(temperature=0.6, top_k=40)
    assert PRESETS["nucleus"] == TokenSampling(temperature=0.8, top_p=0.9)
    assert PRESETS["greedy"].temperature == 0


@pytest.mark.parametrize("penalty", [1.3, 0.7])
def test_penalty_as_transformers(penalty: float) -> None:
    logits = some_logits()
    ids = torch.randint(0, VOCABULARY, (BATCH, 9), generator=torch.Generator().manual_seed(1))
    seen = torch.zeros(BATCH, VOCABULARY, dtype=torch.bool).scatter_(1, ids, True)
    expected = reference.RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone())
    assert torch.equal(penalize_repetition(logits, seen, penalty), expected)


@pytest.mark.parametrize("k", [1, 2, 5, VOCABULARY, VOCABULARY + 3])
def test_top_k_as_transformers(k: int) -> None:
    logits = some_logits()
    expected = reference.TopKLogitsWarper(k)(torch.zeros(0), logits.clone())
    assert torch.equal(keep_top_k(logits, k), expected)


@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 0.999])
def test_top_p_as_transformers(p: float) -> None:
    logits = some_logits()
    expected = reference.TopPLogitsWarper(p)(torch.zeros(0), logits.clone())
    assert torch.equal(keep_top_p(logits, p), expected)


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    logits = torch.tensor([[0.125, 0.5, 0.25, 0.125]]).log()
    for p, kept in ((0.4, [1]), (0.6, [1, 2]), (0.75, [1, 2]), (0.8, [0, 1, 2]), (1e-9, [1])):
        assert keep_top_p(logits, p)[0].isfinite().nonzero().flatten().tolist() == kept, p


def test_all_steps_together_as_transformers() -> None:
    logits, ids = some_logits(), torch.arange(BATCH)[:, None]
    seen = torch.eye(BATCH, VOCABULARY, dtype=torch.bool)
    sampling = TokenSampling(temperature=0.7, top_k=12, top_p=0.8, repetition_penalty=1.2)
    processors = LogitsProcessorList(
        [
            reference.RepetitionPenaltyLogitsProcessor(1.2),
            reference.TemperatureLogitsWarper(0.7),
            reference.TopKLogitsWarper(12),
            reference.TopPLogitsWarper(0.8),
        ]
    )
    assert torch.equal(adjust(logits, sampling, seen), processors(ids, logits.clone()))


def test_frequencies_follow_the_adjusted_distribution() -> None:
    logits = torch.tensor([[1.0, 0.0, 2.0, -1.0, -30.0]]).expand(1000, -1)
    sampling = TokenSampling(temperature=0.8, top_k=3)
    generators = [sequence_generator(7, i) for i in range(1000)]
    drawn = torch.cat([choose(logits, sampling, generators) for _ in range(10)])
    share = torch.bincount(drawn, minlength=5) / len(drawn)
    expected = adjust(logits[:1], sampling)[0].softmax(-1)
    assert (share - expected).abs().max() < 0.02  # four standard errors of a share of 10,000
    assert share[3] == share[4] == 0


def test_greedy_takes_the_largest_and_draws_nothing() -> None:
    generator = sequence_generator(0, 0)
    before = generator.get_state()
    logits = some_logits()
    assert torch.equal(choose(logits, PRESETS["greedy"], [generator] * BATCH), logits.argmax(-1))
    assert torch.equal(generator.get_state(), before)


def test_a_sequence_draws_the_same_in_any_company() -> None:
    logits = some_logits()
    sampling = TokenSampling(temperature=2.0)
    together = choose(logits, sampling, [sequence_generator(3, i) for i in range(BATCH)])
    alone = [choose(logits[i : i + 1], sampling, [sequence_generator(3, i)])[0] for i in range(BATCH)]
    assert together.tolist() == [int(token) for token in alone]


def test_seeds_and_sequences_draw_apart() -> None:
    def numbers(seed: int, sequence: int) -> tuple[float, ...]:
        return tuple(torch.rand(4, generator=sequence_generator(seed, sequence)).tolist())

    assert len({numbers(seed, sequence) for seed in range(5) for sequence in range(5)}) == 25
    assert numbers(1, 2) == numbers(1, 2)


@pytest.mark.parametrize("temperature", [5e-324, 1e-320, 1e-300, 1e-40, 1e-30, 1e-10, 9e-6])
@pytest.mark.parametrize("settings", [{}, {"top_k": 3}, {"top_p": 0.5}, {"repetition_penalty": 1.3}])
def test_a_temperature_near_0_is_greedy(temperature: float, settings: dict[str, Any]) -> None:
    logits = some_logits(3) * 1e4
    logits[0, :2] = logits.max() + 1  # two likeliest tokens: the first, as by temperature 0
    seen = torch.zeros(BATCH, VOCABULARY, dtype=torch.bool)
    seen[1, 4:9] = True
    generators = [sequence_generator(0, i) for i in range(BATCH)]
    cold = TokenSampling(temperature=temperature, **settings)
    assert cold.greedy
    assert not adjust(logits, cold, seen).isnan().any()
    expected = choose(logits, TokenSampling(temperature=0.0, **settings), generators, seen)
    assert choose(logits, cold, generators, seen).tolist() == expected.tolist()


def test_no_setting_makes_numbers_that_are_none() -> None:
    logits, seen = some_logits() * 100, torch.ones(BATCH, VOCABULARY, dtype=torch.bool)
    for temperature in (1e-5, 1.0, 1e300):
        for penalty in (1e-320, 1e-30, 1e30, 1e300):
            sampling = TokenSampling(temperature=temperature, repetition_penalty=penalty)
            assert not adjust(logits, sampling, seen).softmax(-1).isnan().any(), (temperature, penalty)
            drawn = choose(logits, sampling, [sequence_generator(0, i) for i in range(BATCH)], seen)
            assert int(drawn.max()) < VOCABULARY
    assert not TokenSampling(temperature=1e-5).greedy
