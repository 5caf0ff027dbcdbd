import itertools
import random

import pytest

from stages.lib.lora.batches import balanced, collate, padded_tokens, plan_steps
from stages.lib.lora.masks import IGNORED, MaskedChat


def test_every_epoch_sees_every_sample_once() -> None:
    plan = plan_steps([5, 9, 7, 3, 8, 6], sequences=4, micro_batches=2, steps=3, seed=0)
    seen = [i for step in plan for group in step for i in group]
    assert all(len(step) == 2 for step in plan)
    assert sorted(seen) == sorted([*range(6), *range(6)])
    assert plan == plan_steps([5, 9, 7, 3, 8, 6], 4, 2, 3, 0)
    assert plan != plan_steps([5, 9, 7, 3, 8, 6], 4, 2, 3, 1)


def test_every_epoch_has_its_own_order() -> None:
    order = [i for ((i,),) in plan_steps([4] * 20, sequences=1, micro_batches=1, steps=60, seed=0)]
    epochs = [order[:20], order[20:40], order[40:]]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_largest_group_is_the_least_possible() -> None:
    lengths = [random.Random(3).randint(1, 50) for _ in range(8)]
    groups = balanced(range(8), lengths, 3)
    ordered = sorted(range(8), key=lambda i: -lengths[i])
    best = min(
        max(padded_tokens(g, lengths, False) for g in (ordered[:a], ordered[a:b], ordered[b:]))
        for a, b in itertools.combinations(range(1, 8), 2)
    )
    assert sorted(i for group in groups for i in group) == list(range(8))
    assert max(padded_tokens(group, lengths, False) for group in groups) == best


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="lower gradient_accumulation_steps"):
        plan_steps([3], sequences=2, micro_batches=2, steps=1, seed=0)


def test_collates_padded_and_packed() -> None:
    samples = [MaskedChat("a", [1, 2, 3], [IGNORED, 2, 3]), MaskedChat("b", [4, 5], [4, 5])]
    padded = collate(samples, pad_id=9, packing=False)
    assert padded["input_ids"].tolist() == [[1, 2, 3], [4, 5, 9]]
    assert padded["labels"].tolist() == [[IGNORED, 2, 3], [4, 5, IGNORED]]
    assert padded["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    packed = collate(samples, pad_id=9, packing=True)
    assert packed["input_ids"].tolist() == [[1, 2, 3, 4, 5]]
    assert packed["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert packed["labels"].tolist() == [[IGNORED, 2, 3, IGNORED, 5]]  # 4 would be learned from sample a
