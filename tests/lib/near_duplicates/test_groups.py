import numpy as np
import pytest

from stages.lib.near_duplicates.groups import diameter, group_members, star_groups


def test_of_a_chain_the_middle_stays() -> None:
    assert star_groups(3, [(0, 1), (1, 2)], [1, 1, 1]) == [1, 1, 1]


def test_a_long_chain_breaks_where_no_pair_holds_it() -> None:
    heads = star_groups(6, [(i, i + 1) for i in range(5)], [1] * 6)
    assert heads == [1, 1, 1, 3, 3, 5]


def test_longest_then_earliest_stays() -> None:
    assert star_groups(3, [(0, 1), (0, 2), (1, 2)], [5, 9, 9]) == [1, 1, 1]


def test_who_has_no_duplicate_stays() -> None:
    assert star_groups(3, [], [1, 2, 3]) == [0, 1, 2]
    assert group_members([0, 1, 2]) == {}


@pytest.mark.parametrize("seed", range(20))
def test_whoever_goes_is_a_duplicate_of_one_that_stays_and_no_two_duplicates_stay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = sorted({(min(a, b), max(a, b)) for a, b in rng.integers(0, 60, (80, 2)).tolist() if a != b})
    lengths = rng.integers(1, 5, 60).tolist()
    heads = star_groups(60, pairs, lengths)
    assert heads == star_groups(60, pairs[::-1], lengths)
    for item, head in enumerate(heads):
        assert heads[head] == head
        assert item == head or (min(item, head), max(item, head)) in pairs
    assert not [(a, b) for a, b in pairs if heads[a] == a and heads[b] == b]


def test_diameter_is_that_of_the_two_that_are_least_alike() -> None:
    angles = np.deg2rad([0.0, 10.0, 20.0, 90.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert diameter(vectors, [0, 1, 2]) == pytest.approx(1 - np.cos(np.deg2rad(20)), abs=1e-7)
    assert diameter(vectors, [1]) == pytest.approx(0, abs=1e-12)
