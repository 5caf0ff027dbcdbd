"""near_pairs against brute force in float64."""

import math
from typing import Literal

import numpy as np
import pytest
import torch

from stages.lib.near_duplicates import near_pairs as module
from stages.lib.near_duplicates.near_pairs import Float32Array, cosines, exact_cosine, near_pairs

Precision = Literal["float32", "bfloat16"]
PRECISIONS: list[Precision] = ["float32", "bfloat16"]


def unit(vectors: np.ndarray) -> Float32Array:
    vectors = np.asarray(vectors, dtype=np.float64)
    normalised: Float32Array = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return normalised


def brute_force(vectors: Float32Array, floor: float) -> set[tuple[int, int]]:
    """All pairs by a whole float64 product; those within 1e-10 of the floor by correctly rounded sums."""
    wide = vectors.astype(np.float64)
    norms = np.sqrt((wide * wide).sum(axis=1))
    matrix = (wide @ wide.T) / np.outer(norms, norms)
    pairs = set()
    for i, j in np.argwhere(np.triu(matrix >= floor - 1e-10, 1)):
        if matrix[i, j] > floor + 1e-10 or exact_cosine(vectors[i], vectors[j]) >= floor:
            pairs.add((int(i), int(j)))
    return pairs


def found(vectors: Float32Array, floor: float, precision: Precision) -> set[tuple[int, int]]:
    pairs = near_pairs(vectors, floor, precision=precision)
    listed = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert listed == sorted(set(listed))
    return set(listed)


def isotropic(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((n, d))


def sharing_a_mean(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Cosines of about 0.7 between everything, as embedding models have them."""
    return unit(rng.standard_normal((n, d))) * math.sqrt(0.3) + unit(rng.standard_normal((1, d))) * math.sqrt(0.7)


def clustered(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Cosines around 0.94 inside 100 clusters."""
    return rng.standard_normal((100, d))[rng.integers(0, 100, n)] + rng.standard_normal((n, d)) / 4


def low_rank(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((n, 5)) @ rng.standard_normal((5, d))


SHAPES = {"isotropic": isotropic, "sharing a mean": sharing_a_mean, "clustered": clustered, "low rank": low_rank}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("n", "d", "floor"), [(1500, 64, 0.95), (2, 3, 0.5), (4500, 40, 0.99)])
def test_finds_what_brute_force_finds(shape: str, n: int, d: int, floor: float, precision: Precision) -> None:
    rng = np.random.default_rng(n + d)
    vectors = unit(SHAPES[shape](n, d, rng))
    copies = rng.integers(0, n, n // 20)
    vectors[rng.permutation(n)[: n // 20]] = unit(vectors[copies] + rng.standard_normal((n // 20, d)) * 0.02)
    expected = brute_force(vectors, floor)
    assert n == 2 or len(expected) > 20
    assert found(vectors, floor, precision) == expected


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("d", [24, 300])
def test_decides_cosines_that_hug_the_floor(d: int, precision: Precision) -> None:
    """10,000 pairs within 1e-7 of the floor, on both sides: less than float32 can tell apart."""
    rng = np.random.default_rng(d)
    floor = 0.97
    x = np.linalg.qr(rng.standard_normal((d, d)))[0][rng.integers(0, d, 5000)] + rng.standard_normal((5000, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    e = rng.standard_normal((5000, d))
    e -= (e * x).sum(axis=1, keepdims=True) * x
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    c = floor + rng.uniform(-1e-7, 1e-7, (5000, 1))
    vectors = np.concatenate([unit(x), unit(c * x + np.sqrt(1 - c * c) * e)])
    expected = brute_force(vectors, floor)
    planted = sum((i, i + 5000) in expected for i in range(5000))
    assert 2000 < planted < 3000
    assert found(vectors, floor, precision) == expected


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_floor_that_is_the_cosine_of_a_pair_includes_it(precision: Precision) -> None:
    vectors = unit(clustered(600, 50, np.random.default_rng(5)))
    for i, j in sorted(brute_force(vectors, 0.94))[:20]:
        cosine = exact_cosine(vectors[i], vectors[j])
        assert (i, j) in found(vectors, cosine, precision)
        assert (i, j) not in found(vectors, math.nextafter(cosine, 2.0), precision)


def test_identical_rows_have_cosine_one() -> None:
    vectors = unit(isotropic(400, 33, np.random.default_rng(1)))
    vectors[[7, 300, 399]] = vectors[20]
    pairs = near_pairs(vectors, 1.0)
    group = [7, 20, 300, 399]
    assert set(zip(pairs.first, pairs.second, strict=True)) == {(i, j) for i in group for j in group if i < j}
    assert (pairs.cosine == 1.0).all()


def test_precision_changes_no_bit_of_the_result() -> None:
    vectors = unit(clustered(8000, 70, np.random.default_rng(2)))
    single, half = (near_pairs(vectors, 0.95, precision=precision) for precision in PRECISIONS)
    assert len(single.cosine) > 1000
    for field in ("first", "second", "cosine"):
        assert getattr(single, field).tobytes() == getattr(half, field).tobytes()


def test_cosine_of_a_pair_does_not_depend_on_its_company() -> None:
    vectors = unit(isotropic(300, 384, np.random.default_rng(3)))
    first, second = np.arange(299), np.arange(1, 300)
    together = cosines(vectors, first, second)
    alone = np.concatenate([cosines(vectors, first[i : i + 1], second[i : i + 1]) for i in range(299)])
    assert together.tobytes() == alone.tobytes()


def test_leaves_the_number_of_threads_as_it_was() -> None:
    before = torch.get_num_threads()
    near_pairs(unit(isotropic(50, 16, np.random.default_rng(4))), 0.9)
    assert torch.get_num_threads() == before


def test_refuses_or_survives_products_that_torch_was_told_to_lower() -> None:
    vectors = unit(clustered(7000, 64, np.random.default_rng(6)))
    expected = brute_force(vectors, 0.95)
    torch.set_float32_matmul_precision("medium")
    try:
        assert found(vectors, 0.95, "float32") == expected
    except ValueError as error:
        assert "less exact" in str(error)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 0.5])
def test_names_the_row_that_is_no_unit_vector(value: float) -> None:
    vectors = unit(isotropic(3000, 16, np.random.default_rng(4)))
    vectors[2345] = value
    with pytest.raises(ValueError, match="row 2345"):
        near_pairs(vectors, 0.9)


@pytest.mark.parametrize("held", [10, 1 << 20])
def test_lists_the_nearest_of_each_kind_whatever_is_held(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(module, "HELD", held)
    vectors = unit(np.random.default_rng(5).normal(1, 0.15, (300, 8)).repeat(2, axis=0))  # with equal cosines
    kinds = [i % 5 for i in range(len(vectors))]
    every = near_pairs(vectors, 0.97)
    ranked: dict[tuple[int, bool], list[tuple[float, int, int]]] = {}
    for a, b, cosine in zip(every.first.tolist(), every.second.tolist(), every.cosine.tolist(), strict=True):
        for end, other in ((a, b), (b, a)):
            ranked.setdefault((end, kinds[a] == kinds[b]), []).append((-cosine, other, end))
    expected = {tuple(sorted(pair[1:])) for group in ranked.values() for pair in sorted(group)[:3]}
    near = near_pairs(vectors, 0.97, neighbours=3, kinds=kinds)
    listed = list(zip(near.first.tolist(), near.second.tolist(), strict=True))
    assert set(listed) == expected and listed == sorted(expected)
    assert near.found == every.found == len(every.first) > 10 * len(expected)


def test_says_so_when_memory_is_too_little() -> None:
    vectors = unit(isotropic(3000, 64, np.random.default_rng(4)))
    with pytest.raises(ValueError, match="MB more"):
        near_pairs(vectors, 0.97, memory_mb=20)


@pytest.mark.parametrize("floor", [0.0, -0.5, 1.01, math.nan])
def test_refuses_a_floor_out_of_range(floor: float) -> None:
    with pytest.raises(ValueError, match="floor"):
        near_pairs(unit(np.eye(4)), floor)


def test_refuses_what_is_no_float32_matrix() -> None:
    with pytest.raises(ValueError, match="float32"):
        near_pairs(np.eye(4), 0.9)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_compare(n: int) -> None:
    assert len(near_pairs(unit(np.ones((n, 8))), 0.9).first) == 0
