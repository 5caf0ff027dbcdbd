"""Several rankings or scores of the same candidates made one."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

Fusion = Literal["z_score", "min_max", "reciprocal_rank"]
RRF_K = 60  # Cormack et al. 2009, section 3; the value every implementation kept


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[str]], weights: Sequence[float] | None = None, k: int = RRF_K
) -> list[tuple[str, float]]:
    """Sum over the rankings of weight / (k + rank), ranks from 1; best first, ties by id.

    An id that a ranking lacks gets nothing from it. Cormack, Clarke and Buettcher, "Reciprocal
    rank fusion outperforms Condorcet and individual rank learning methods", SIGIR 2009.

    Raises:
        ValueError: an id twice in one ranking, or another number of weights than of rankings.
    """
    weights = [1.0] * len(rankings) if weights is None else weights
    if len(weights) != len(rankings):
        raise ValueError(f"{len(rankings)} rankings need as many weights, found {len(weights)}")
    scores: dict[str, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        if len(set(ranking)) != len(ranking):
            raise ValueError("a ranking names an id twice")
        for rank, name in enumerate(ranking, start=1):
            scores[name] = scores.get(name, 0.0) + weight / (k + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def z_scores(scores: np.ndarray) -> np.ndarray:
    """(n,) -> (n,) with mean 0 and (population) standard deviation 1; all zero where all are equal."""
    spread = scores.std() if len(scores) else 0.0
    return (scores - scores.mean()) / spread if spread > _noise(scores) else np.zeros(len(scores))


def min_max(scores: np.ndarray) -> np.ndarray:
    """(n,) -> (n,) from 0 to 1; all zero where all are equal."""
    spread = np.ptp(scores) if len(scores) else 0.0
    return (scores - scores.min()) / spread if spread > _noise(scores) else np.zeros(len(scores))


def reciprocal_ranks(scores: np.ndarray) -> np.ndarray:
    """(n,) -> (n,) 1 / (RRF_K + rank), ranks from 1 for the greatest score; equal scores keep their order."""
    fractions = np.empty(len(scores))
    fractions[np.argsort(-scores, kind="stable")] = 1.0 / (RRF_K + np.arange(1, len(scores) + 1))
    return fractions


def fuse(first: np.ndarray, second: np.ndarray, second_weight: float, how: Fusion) -> np.ndarray:
    """(1 - w) first + w second over one query's candidates, both brought to one scale beforehand.

    Args:
        first: (n,) scores, greater is better.
        second: (n,) scores of the same candidates.
        second_weight: w, 0..1.
        how: `z_score` and `min_max` put both on one scale over these candidates (Lee, "Analyses of
            multiple evidence combination", SIGIR 1997); `reciprocal_rank` takes 1 / (60 + rank) in
            place of each score.

    Raises:
        ValueError: scores of unlike length, or a weight outside 0..1.
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"scores of shapes {first.shape} and {second.shape} cannot be fused")
    if not 0.0 <= second_weight <= 1.0:
        raise ValueError(f"weight {second_weight} is outside 0..1")
    scale = {"z_score": z_scores, "min_max": min_max, "reciprocal_rank": reciprocal_ranks}[how]
    fused: np.ndarray = (1.0 - second_weight) * scale(first) + second_weight * scale(second)
    return fused


def _noise(scores: np.ndarray) -> float:
    """A spread at or below this is rounding, not a difference."""
    return float(np.abs(scores).max(initial=0.0) * 1e-12)
