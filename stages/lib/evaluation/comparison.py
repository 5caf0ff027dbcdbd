"""Systems against a first one on the same questions: values, intervals, paired differences, p.

Letters: Q questions, S resamples. Questions on one document are not independent draws: read the
intervals as slightly too narrow. With ten questions an interval that excludes 0 takes a large difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.lib.statistics import bootstrap as statistics

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measure of every system, as sums over questions: a mean, or a ratio of two counts.

    `parts`: system -> (Q,) what each question adds to the numerator; `weights`: to the denominator, absent for a mean.
    """

    name: str
    parts: Mapping[str, Sequence[float]]
    weights: Mapping[str, Sequence[float]] = field(default_factory=dict)


def compare_systems(measures: Sequence[Measure], samples: int, seed: int) -> dict[str, dict[str, dict[str, Any]]]:
    """System -> measure -> value with its 95% interval and, but for the first system, the difference to the first.

    Intervals are percentile bootstraps over questions, all systems seeing the same resamples. p is that of the
    paired randomization test; `p_holm` holds for all measures of one system together.
    """
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for measure in measures:
        found = _ratios(measure, samples, seed) if measure.weights else _means(measure, samples, seed)
        for system, row in found.items():
            table.setdefault(system, {})[measure.name] = row
    for rows in table.values():
        tested = [row for row in rows.values() if row.get("p") is not None]
        corrected = statistics.holm(np.array([row["p"] for row in tested]))
        for row, p in zip(tested, corrected.tolist(), strict=True):
            row["p_holm"] = p
    return table


def against(parts: Sequence[float], level: float, samples: int, seed: int) -> dict[str, Any]:
    """Mean of the parts, its 95% interval, and p of the hypothesis that it is `level`."""
    values = np.array(parts, dtype=np.float64)
    found = statistics.compare(values[:, None], np.full(len(values), level), samples, seed)
    return {
        "value": float(values.mean()),
        "low": float(found.low[0] + level),
        "high": float(found.high[0] + level),
        "p": float(found.p[0]),
    }


def _means(measure: Measure, samples: int, seed: int) -> dict[str, dict[str, Any]]:
    values = np.stack([np.array(parts, dtype=np.float64) for parts in measure.parts.values()], axis=1)  # (Q, systems)
    low, high = statistics.bootstrap_intervals(values, samples, seed)
    rows: dict[str, dict[str, Any]] = {
        system: {"value": float(values[:, i].mean()), "low": float(low[i]), "high": float(high[i])}
        for i, system in enumerate(measure.parts)
    }
    found = statistics.compare(values[:, 1:], values[:, 0], samples, seed)
    for i, system in enumerate(list(measure.parts)[1:]):
        rows[system] |= {
            "difference": float(found.difference[i]),
            "difference_low": float(found.low[i]),
            "difference_high": float(found.high[i]),
            "p": float(found.p[i]),
        }
    return rows


def _ratios(measure: Measure, samples: int, seed: int) -> dict[str, dict[str, Any]]:
    """As `_means` for sum / sum; resamples without any denominator are left out. Null where the denominator is 0."""
    systems = list(measure.parts)
    over = np.array([measure.parts[system] for system in systems], dtype=np.float64)  # (systems, Q)
    under = np.array([measure.weights[system] for system in systems], dtype=np.float64)
    questions = over.shape[1]
    drawn = np.random.default_rng(seed).integers(0, questions, size=(samples, questions))
    counts = np.stack([np.bincount(row, minlength=questions) for row in drawn]).astype(np.float64)  # (S, Q)
    observed, resampled = _divided(over.sum(axis=1), under.sum(axis=1)), _divided(counts @ over.T, counts @ under.T)
    rows: dict[str, dict[str, Any]] = {}
    for i, system in enumerate(systems):
        rows[system] = {"value": _number(observed[i]), **_bounds(resampled[:, i], "")}
        if i:
            difference = resampled[:, i] - resampled[:, 0]
            p = _swap_p(over[[0, i]], under[[0, i]], samples, seed)
            rows[system] |= {
                "difference": _number(observed[i] - observed[0]),
                **_bounds(difference, "difference_"),
                "p": p,
            }
    return rows


def _swap_p(over: Floats, under: Floats, samples: int, seed: int) -> float | None:
    """Two-sided p of the difference of two ratios, over random swaps of the systems' outcomes, question by question."""
    observed = np.diff(_divided(over.sum(axis=1), under.sum(axis=1)))[0]
    if np.isnan(observed):
        return None
    swap = np.random.default_rng(seed).integers(0, 2, size=(samples, over.shape[1])).astype(np.float64)  # (S, Q)
    first = _divided((1 - swap) @ over[0] + swap @ over[1], (1 - swap) @ under[0] + swap @ under[1])
    second = _divided(swap @ over[0] + (1 - swap) @ over[1], swap @ under[0] + (1 - swap) @ under[1])
    differences = (second - first)[~np.isnan(second - first)]
    extreme = int((np.abs(differences) >= abs(observed) - 1e-12).sum())
    return (extreme + 1) / (len(differences) + 1)


def _divided(over: Floats, under: Floats) -> Floats:
    divided: Floats = np.divide(over, under, out=np.full(over.shape, np.nan), where=under > 0)
    return divided


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _bounds(values: Floats, prefix: str) -> dict[str, float | None]:
    known = values[~np.isnan(values)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return {f"{prefix}low": _number(low), f"{prefix}high": _number(high)}
