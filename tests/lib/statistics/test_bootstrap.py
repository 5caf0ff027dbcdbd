"""Intervals that cover, tests that keep their level, corrections that agree with the textbook."""

from itertools import product

import numpy as np
import pytest
import scipy.stats

from stages.lib.statistics.bootstrap import bootstrap_intervals, compare, holm


def test_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).random((60, 2))
    low, high = bootstrap_intervals(values, samples=20_000, seed=1)
    for column in range(2):
        reference = scipy.stats.bootstrap(
            (values[:, column],), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
        ).confidence_interval
        assert low[column] == pytest.approx(reference.low, abs=0.003)
        assert high[column] == pytest.approx(reference.high, abs=0.003)
        assert low[column] < values[:, column].mean() < high[column]


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    values = (generator.random((50, 400)) < 0.7).astype(float)  # 400 experiments of 50 queries with true mean 0.7
    low, high = bootstrap_intervals(values, samples=1000, seed=0)
    coverage = ((low <= 0.7) & (high >= 0.7)).mean()
    assert 0.90 < coverage < 0.98


def test_same_seed_same_interval_and_blocks_do_not_matter() -> None:
    values = np.random.default_rng(0).random((10, 3))
    first = bootstrap_intervals(values, samples=1234, seed=7)
    assert np.array_equal(first, bootstrap_intervals(values, samples=1234, seed=7))
    assert not np.array_equal(first, bootstrap_intervals(values, samples=1234, seed=8))
    alone = bootstrap_intervals(values[:, :1], samples=1234, seed=7)
    assert np.allclose(np.array(alone)[:, 0], np.array(first)[:, 0])


def test_p_value_agrees_with_the_exact_randomization_test() -> None:
    differences = np.array([0.5, 0.25, -0.1, 0.3, 0.0, 0.4, -0.2, 0.1])
    means = np.array([np.dot(signs, differences) / 8 for signs in product([1, -1], repeat=8)])
    exact = (np.abs(means) >= differences.mean() - 1e-12).mean()
    found = compare(differences[:, None], np.zeros(8), samples=50_000, seed=0)
    assert found.p[0] == pytest.approx(exact, abs=0.006)
    assert found.difference[0] == pytest.approx(differences.mean())


def test_equal_systems_are_not_different_and_clearly_better_ones_are() -> None:
    reference = np.zeros(40)
    systems = np.stack([reference, reference + 1], axis=1)
    found = compare(systems, reference, samples=999, seed=0)
    assert found.p.tolist() == [1.0, 0.001]
    assert found.low.tolist() == [0.0, 1.0]
    assert found.high.tolist() == [0.0, 1.0]


def test_holm() -> None:
    # Holm 1979: 0.01 x 4, then max(0.02 x 3, 0.04), then 0.03 x 2 raised to the one before, then the last.
    assert holm(np.array([0.03, 0.01, 0.02, 0.5])) == pytest.approx([0.06, 0.04, 0.06, 0.5])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).size == 0
