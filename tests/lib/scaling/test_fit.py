"""A known law is found again, the frontier is what nothing cheaper beats, optimizers meet at their best."""

import math
from itertools import product

import pytest

from stages.lib.scaling.fit import frontier, power_law, rivals, spent, sweeps
from stages.lib.scaling.runs import Run, Size
from tests.lib.scaling.made_runs import LARGE, SMALL, made


def test_a_power_law_is_found_again() -> None:
    flops = [1e12, 3e12, 1e13, 8e14]
    law = power_law(flops, [30.0 * at**-0.08 for at in flops])
    assert law is not None
    assert [law.scale, law.exponent, law.lowest, law.highest] == pytest.approx([30.0, 0.08, 0.08, 0.08])
    assert law.loss(1e16) == pytest.approx(30.0 * 1e16**-0.08)


def test_how_far_one_point_moves_the_exponent() -> None:
    # Slopes of log loss between the three: -0.1, then -0.3; without one of them it is theirs, or both together.
    flops = [1.0, math.e, math.e**2]
    law = power_law(flops, [1.0, math.exp(-0.1), math.exp(-0.4)])
    assert law is not None
    assert law.exponent == pytest.approx(0.2)
    assert [law.lowest, law.highest] == pytest.approx([0.1, 0.3])


def test_two_computes_make_no_law() -> None:
    assert power_law([1e9, 1e10], [3.0, 2.0]) is None
    assert power_law([1e9, 1e9, 1e10], [3.0, 2.9, 2.0]) is None


def test_the_frontier_is_what_nothing_cheaper_beats() -> None:
    middle = Size(3_000, 2, 1, 24)
    runs = [
        made("cheap", SMALL, 3.0),
        made("long", SMALL, 2.6, steps=100),  # beaten by `middle`, which costs less
        made("middle", middle, 2.5),
        made("as dear as middle", SMALL, 2.7, steps=30),
        made("large", LARGE, 2.4, steps=100),
    ]
    edge = frontier(spent(sweeps(runs)))
    assert [point.sweep.rates[0].runs[0].name for point in edge] == ["cheap", "middle", "large"]


def bowl(size: Size, best: float, optimizer: str = "adamw", seeds: tuple[int, ...] = (1,)) -> list[Run]:
    """Losses over four learning rates that are lowest at `best`."""
    return [
        made(
            f"{lr} {seed}", size, 2 + abs(math.log2(lr / best)) / 10 + seed / 100, lr=lr, optimizer=optimizer, seed=seed
        )
        for lr, seed in product((0.001, 0.002, 0.004, 0.008), seeds)
    ]


def test_the_best_rate_of_each_size_is_found_and_one_at_the_edge_is_said() -> None:
    small, large = sweeps([*bowl(LARGE, 0.002), *bowl(SMALL, 0.008)])
    assert (small.size, small.best.lr, small.at_edge) == (SMALL, 0.008, True)
    assert (large.size, large.best.lr, large.at_edge) == (LARGE, 0.002, False)
    (lowest,) = sweeps(bowl(SMALL, 0.001))
    assert (lowest.best.lr, lowest.at_edge) == (0.001, True)
    (alone,) = sweeps([made()])
    assert (alone.swept, alone.at_edge) == (False, False)


def test_a_rate_is_chosen_on_the_seeds_that_all_have() -> None:
    # 0.002 is best on seed 1. Seeds 2 and 3, which only it was given, are unlucky; that must not unseat it.
    extra = [made("unlucky", SMALL, 2.9, lr=0.002, seed=2), made("unlucky too", SMALL, 2.9, lr=0.002, seed=3)]
    (sweep,) = sweeps([*bowl(SMALL, 0.002), *extra])
    assert sweep.best.lr == 0.002
    assert sweep.best.mean == pytest.approx((2.01 + 2.9 + 2.9) / 3)


def test_the_error_over_seeds() -> None:
    (sweep,) = sweeps([made(f"{seed}", loss=loss, seed=seed) for seed, loss in ((1, 2.0), (2, 2.2), (3, 2.4))])
    assert sweep.best.seed_error == pytest.approx(0.2 / math.sqrt(3))
    assert sweeps([made()])[0].best.seed_error is None


def test_rivals_meet_at_their_own_best_rates_seed_by_seed() -> None:
    runs = [*bowl(SMALL, 0.002, seeds=(1, 2, 3))]
    runs += [
        made(f"m{lr}{seed}", SMALL, loss, lr=lr, optimizer="muon", seed=seed)
        for lr, seed, loss in [(0.004, 1, 1.91), (0.004, 2, 1.96), (0.004, 4, 1.0), (0.008, 1, 1.95)]
    ]
    runs.append(made("without a rival", LARGE, 1.5, optimizer="muon"))
    (rival,) = rivals(sweeps(runs))
    assert (rival.sweep.best.lr, rival.against.best.lr, rival.seeds) == (0.004, 0.002, (1, 2))
    assert [*rival.differences] == pytest.approx([-0.10, -0.06])
    assert rival.mean == pytest.approx(-0.08)
    assert rival.error == pytest.approx(0.02)
