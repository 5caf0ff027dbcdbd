"""Several rankings or scores of the same candidates made one."""

from typing import Literal

import numpy as np

Fusion = Literal["z_score", "min_max", "reciprocal_rank"]
RRF_K = 60  # Cormack et al. 2009, section 3; the value every implementation kept


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
