"""How sure a mean over queries or questions is: bootstrap intervals, paired randomization tests, Holm's correction.

Letters: Q queries, M columns (systems or measures), S samples. Everything is seeded and
vectorised. The queries are taken as independent draws; questions about chunks of one
document are less than that, so read the intervals as slightly too narrow.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BLOCK = 500  # samples computed together: BLOCK x Q numbers in memory
LEVEL = 0.95


def bootstrap_intervals(values: Floats, samples: int, seed: int, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Percentile bootstrap over queries (Efron & Tibshirani 1993, chapter 13) of the mean of each column.

    Args:
        values: (Q, M), one row per query. All columns see the same resampled queries.
        samples: number of resamples S.
        seed: of the resampling.
        level: coverage, 0..1.

    Returns:
        Lower and upper bounds, each (M,).
    """
    queries, _ = values.shape
    generator = np.random.default_rng(seed)
    means = []
    for size in _block_sizes(samples):
        drawn = generator.integers(0, queries, size=(size, queries)) + queries * np.arange(size)[:, None]
        # How often each query is drawn, (size, Q): the means of all columns are one matrix product.
        counts = np.bincount(drawn.ravel(), minlength=size * queries).reshape(size, queries)
        means.append(counts.astype(np.float64) @ values / queries)
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The paired differences of systems to one reference; each array is (M,)."""

    difference: Floats  # mean over queries of system - reference
    low: Floats  # 95% bootstrap interval of the difference
    high: Floats
    p: Floats  # two-sided, paired randomization test
    p_holm: Floats  # the same, corrected for the M comparisons


def compare(systems: Floats, reference: Floats, samples: int, seed: int) -> Comparison:
    """Compares each system with the reference on the same queries.

    The p-value is that of Fisher's paired randomization test, which Smucker, Allan and
    Carterette (CIKM 2007) recommend for retrieval: under the hypothesis that both systems
    are the same, each query's difference has a random sign.

    Args:
        systems: (Q, M) a measure of each query and system.
        reference: (Q,) the same measure of the reference.
        samples: of the bootstrap and of the signs.
        seed: of both.
    """
    differences = systems - reference[:, None]  # (Q, M)
    observed = differences.mean(axis=0)
    low, high = bootstrap_intervals(differences, samples, seed)
    generator = np.random.default_rng(seed)
    extreme = np.zeros(systems.shape[1], dtype=np.int64)
    for size in _block_sizes(samples):
        signs = generator.integers(0, 2, size=(size, len(reference))) * 2.0 - 1.0  # (size, Q)
        means = signs @ differences / len(reference)
        # The margin lets a mean that equals the observed one up to rounding count as equal.
        extreme += (np.abs(means) >= np.abs(observed) - 1e-12).sum(axis=0)
    p = (extreme + 1) / (samples + 1)  # the observed signs are one of the samples: p is never 0
    return Comparison(difference=observed, low=low, high=high, p=p, p_holm=holm(p))


def holm(p: Floats) -> Floats:
    """Holm's step-down correction (1979): p-values that hold for all M comparisons together, (M,)."""
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)  # the smallest p is tested against M others, the next against M - 1 ...
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def _block_sizes(samples: int) -> list[int]:
    return [min(BLOCK, samples - start) for start in range(0, samples, BLOCK)]
