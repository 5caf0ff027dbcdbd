"""Means agree with lib/statistics, ratios with an exact count; what is not defined is null."""

from itertools import product

import numpy as np
import pytest

from stages.lib.evaluation.comparison import Measure, against, compare_systems
from stages.lib.statistics import bootstrap as statistics

SAMPLES = 4000


def test_means_differences_and_holm() -> None:
    draw = np.random.default_rng(0)
    base, better = draw.random(40), draw.random(40) + 0.5
    parts = {"base": base.tolist(), "tuned": better.tolist()}
    table = compare_systems([Measure(name="f1", parts=parts), Measure(name="rouge", parts=parts)], SAMPLES, 0)
    row = table["tuned"]["f1"]
    expected = statistics.compare(better[:, None], base, SAMPLES, 0)
    assert row["value"] == pytest.approx(better.mean())
    assert row["difference"] == pytest.approx((better - base).mean())
    assert row["p"] == pytest.approx(float(expected.p[0]))
    assert row["p_holm"] == pytest.approx(2 * row["p"])  # two measures
    assert "p" not in table["base"]["f1"]
    assert table["base"]["f1"]["low"] < base.mean() < table["base"]["f1"]["high"]


def test_ratio_and_its_p_by_all_swaps() -> None:
    over = {"base": [0, 0, 1, 0, 0, 0, 1, 0], "tuned": [1, 1, 1, 1, 0, 0, 0, 1]}
    under = {"base": [1, 0, 1, 1, 1, 0, 1, 0], "tuned": [1, 1, 1, 1, 0, 1, 0, 1]}
    table = compare_systems([Measure(name="precision", parts=over, weights=under)], 20_000, 0)
    row = table["tuned"]["precision"]
    assert table["base"]["precision"]["value"] == pytest.approx(2 / 5)
    assert row["value"] == pytest.approx(5 / 6)
    observed = row["difference"]
    extreme = []
    a, b = np.array([over["base"], under["base"]]), np.array([over["tuned"], under["tuned"]])
    for bits in product([0, 1], repeat=8):
        swap = np.array(bits)
        first, second = (a * (1 - swap) + b * swap).sum(axis=1), (b * (1 - swap) + a * swap).sum(axis=1)
        extreme.append(abs(second[0] / second[1] - first[0] / first[1]) >= abs(observed) - 1e-12)
    assert row["p"] == pytest.approx(np.mean(extreme), abs=0.01)
    assert row["difference_low"] < observed < row["difference_high"]


def test_a_system_that_never_refuses_has_no_precision() -> None:
    measure = Measure(
        name="precision", parts={"base": [0, 0, 0], "tuned": [1, 0, 1]}, weights={"base": [0, 0, 0], "tuned": [1, 1, 1]}
    )
    table = compare_systems([measure], 200, 0)
    assert table["base"]["precision"] == {"value": None, "low": None, "high": None}
    assert table["tuned"]["precision"]["value"] == pytest.approx(2 / 3)
    assert table["tuned"]["precision"]["difference"] is None
    assert table["tuned"]["precision"]["p"] is None


def test_a_mean_against_a_level() -> None:
    assert against([1.0, 0.0, 0.5, 0.5], 0.5, 500, 0)["p"] == 1.0
    sure = against([1.0] * 12, 0.5, 2000, 0)
    assert sure["value"] == sure["low"] == sure["high"] == 1.0
    assert sure["p"] < 0.01


def test_two_ratios_are_drawn_with_the_same_questions() -> None:
    over, under = [0, 1, 1, 0, 1, 0, 1, 0], [1, 1, 1, 1, 1, 0, 1, 0]
    same = Measure(name="p", parts={"base": over, "tuned": over}, weights={"base": under, "tuned": under})
    row = compare_systems([same], 300, 0)["tuned"]["p"]
    assert row["difference"] == row["difference_low"] == row["difference_high"] == 0
    assert row["low"] < row["value"] < row["high"]
