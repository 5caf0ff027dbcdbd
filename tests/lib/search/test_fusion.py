import numpy as np
import pytest

from stages.lib.search.fusion import Fusion, fuse, min_max, reciprocal_rank_fusion, z_scores


def test_scales() -> None:
    scores = np.array([2.0, 4.0, 6.0])
    assert z_scores(scores).tolist() == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])
    assert min_max(scores).tolist() == [0.0, 0.5, 1.0]


def test_reciprocal_rank_fusion_by_hand() -> None:
    rankings = [np.array([2, 0]), np.array([0])]
    assert reciprocal_rank_fusion(rankings, 3, k=60).tolist() == [1 / 62 + 1 / 61, 0, 1 / 61]
    assert reciprocal_rank_fusion(rankings, 3, k=0, weights=[0.5, 0.25]).tolist() == [0.5, 0, 0.5]
    fused = fuse(np.array([2.0, 4.0, 4.0]), np.array([9.0, 1.0, 0.0]), 0.25, "reciprocal_rank", rrf_k=2)
    assert fused.tolist() == pytest.approx([0.75 / 5 + 0.25 / 3, 0.75 / 3 + 0.25 / 4, 0.75 / 4 + 0.25 / 5])


@pytest.mark.parametrize("scale", [z_scores, min_max])
def test_equal_scores_say_nothing(scale: object) -> None:
    assert callable(scale)
    assert scale(np.array([0.1 + 0.2, 0.3])).tolist() == [0.0, 0.0]  # apart by rounding alone
    assert scale(np.array([0.0, 0.0])).tolist() == [0.0, 0.0]
    assert scale(np.array([])).tolist() == []


@pytest.mark.parametrize("how", ["z_score", "min_max", "reciprocal_rank"])
def test_fusion_at_its_ends_is_one_of_the_two(how: Fusion) -> None:
    first, second = np.array([3.0, 1.0, 2.0]), np.array([-5.0, 100.0, 0.0])
    assert np.argsort(-fuse(first, second, 0.0, how, rrf_k=60)).tolist() == [0, 2, 1]
    assert np.argsort(-fuse(first, second, 1.0, how, rrf_k=60)).tolist() == [1, 2, 0]


def test_z_score_fusion_by_hand() -> None:
    fused = fuse(np.array([1.0, 3.0]), np.array([20.0, 10.0]), 0.25, "z_score", rrf_k=60)
    assert fused.tolist() == pytest.approx([-0.75 + 0.25, 0.75 - 0.25])


def test_fuse_refuses() -> None:
    with pytest.raises(ValueError, match="shapes"):
        fuse(np.ones(2), np.ones(3), 0.5, "z_score", rrf_k=60)
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        fuse(np.ones(2), np.ones(2), 1.5, "z_score", rrf_k=60)
