"""Several rankings or scores of the same candidates made one."""

from collections.abc import Sequence
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt

Fusion = Literal["z_score", "min_max", "reciprocal_rank"]


def z_scores(scores: np.ndarray) -> np.ndarray:
    """(n,) -> (n,) with mean 0 and (population) standard deviation 1; all zero where all are equal."""
    spread = scores.std() if len(scores) else 0.0
    return (scores - scores.mean()) / spread if spread > _noise(scores) else np.zeros(len(scores))


def min_max(scores: np.ndarray) -> np.ndarray:
    """(n,) -> (n,) from 0 to 1; all zero where all are equal."""
    spread = np.ptp(scores) if len(scores) else 0.0
    return (scores - scores.min()) / spread if spread > _noise(scores) else np.zeros(len(scores))


def reciprocal_rank_fusion(
    rankings: Sequence[npt.NDArray[np.int64]], candidates: int, k: int, weights: Sequence[float] | None = None
) -> np.ndarray:
    """(N,) the sum of weight / (k + rank) over the rankings that hold a candidate, ranks from 1; 0 where none does.

    Cormack et al., "Reciprocal Rank Fusion outperforms Condorcet", SIGIR 2009.

    Args:
        rankings: each (n,) numbers of candidates, best first, n <= N.
        candidates: N.
        k: the constant, 60 in the paper: the greater, the less the first ranks stand out.
        weights: of each ranking; 1 by default.
    """
    scores = np.zeros(candidates)
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        scores[ranking] += weight * (1.0 / (k + np.arange(1, len(ranking) + 1)))
    return scores


def fuse(first: np.ndarray, second: np.ndarray, second_weight: float, how: Fusion, *, rrf_k: int) -> np.ndarray:
    """(1 - w) first + w second over one query's candidates, both brought to one scale beforehand.

    Args:
        first: (n,) scores, greater is better.
        second: (n,) scores of the same candidates.
        second_weight: w, 0..1.
        how: `z_score` and `min_max` put both on one scale over these candidates (Lee, "Analyses of
            multiple evidence combination", SIGIR 1997); `reciprocal_rank` takes 1 / (rrf_k + rank) in
            place of each score, where equal scores keep their order.
        rrf_k: the constant of `reciprocal_rank`.

    Raises:
        ValueError: scores of unlike length, or a weight outside 0..1.
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"scores of shapes {first.shape} and {second.shape} cannot be fused")
    if not 0.0 <= second_weight <= 1.0:
        raise ValueError(f"weight {second_weight} is outside 0..1")
    weights = (1.0 - second_weight, second_weight)
    match how:
        case "z_score":
            scaled = z_scores(first), z_scores(second)
        case "min_max":
            scaled = min_max(first), min_max(second)
        case "reciprocal_rank":
            rankings = [np.argsort(-scores, kind="stable") for scores in (first, second)]
            return reciprocal_rank_fusion(rankings, len(first), rrf_k, weights)
        case _:
            assert_never(how)
    fused: np.ndarray = weights[0] * scaled[0] + weights[1] * scaled[1]
    return fused


def _noise(scores: np.ndarray) -> float:
    """A spread at or below this is rounding, not a difference."""
    return float(np.abs(scores).max(initial=0.0) * 1e-12)
