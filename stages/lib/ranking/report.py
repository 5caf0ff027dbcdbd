"""Values a query and system -> the tables of a benchmark: means, intervals, comparisons, long format for plots."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.lib.core.records import Record
from stages.lib.ranking.measures import measure_names
from stages.lib.statistics import bootstrap as statistics

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class System:
    """One row of the benchmark: a way to retrieve, and what it is worth for each query."""

    name: str
    method: str  # bm25 | dense | reranked | fused
    embedding: str = ""
    instruction: str = ""
    dimension: int = 0  # 0: no vectors (BM25)
    reranker: str = ""
    full: bool = True  # at the model's own dimension
    values: Values  # (Q, M) in the order of `measure_names`


def tabulate(systems: Sequence[System], top_k: Sequence[int], samples: int, seed: int) -> list[Record]:
    """One row a system: means, 95% bootstrap bounds, and MRR against the row it is compared with.

    Truncated rows are compared with their model at its full dimension, all others with the
    first dense system. Holm's correction is over the rows that are compared with one row alike.
    """
    names = measure_names(top_k)
    everything = np.concatenate([system.values for system in systems], axis=1)  # (Q, systems * M)
    low, high = statistics.bootstrap_intervals(everything, samples, seed)
    rows: list[Record] = []
    for number, system in enumerate(systems):
        row: Record = {
            "system": system.name,
            "method": system.method,
            "embedding": system.embedding,
            "instruction": system.instruction,
            "dimension": system.dimension or "",
            "full_dimension": int(system.full),
            "reranker": system.reranker,
            "queries": len(system.values),
            **dict(zip(names, system.values.mean(axis=0).tolist(), strict=True)),
        }
        for column, name in enumerate(names, start=number * len(names)):
            row |= {f"{name}_low": float(low[column]), f"{name}_high": float(high[column])}
        comparison = ("compared_with", "mrr_difference", "mrr_difference_low", "mrr_difference_high", "p", "p_holm")
        rows.append(row | dict.fromkeys(comparison, ""))
    by_name = {system.name: system for system in systems}
    reference = next(system.name for system in systems if system.method == "dense")
    families: dict[tuple[str, bool], list[int]] = {}
    for number, system in enumerate(systems):
        compared_with = reference if system.full else f"{system.embedding}_{system.instruction}"
        if system.name != compared_with:
            families.setdefault((compared_with, system.full), []).append(number)
    mrr = names.index("mrr")
    for (compared_with, _), members in families.items():
        values = np.stack([systems[number].values[:, mrr] for number in members], axis=1)
        found = statistics.compare(values, by_name[compared_with].values[:, mrr], samples, seed)
        for place, number in enumerate(members):
            rows[number] |= {
                "compared_with": compared_with,
                "mrr_difference": float(found.difference[place]),
                "mrr_difference_low": float(found.low[place]),
                "mrr_difference_high": float(found.high[place]),
                "p": float(found.p[place]),
                "p_holm": float(found.p_holm[place]),
            }
    return rows


def accuracy_over_k(rows: Sequence[Record], top_k: Sequence[int]) -> list[Record]:
    """Long format for plots: accuracy of each full-dimension system at each k."""
    return [
        {
            "system": row["system"],
            "k": k,
            "accuracy": row[f"accuracy_at_{k}"],
            "low": row[f"accuracy_at_{k}_low"],
            "high": row[f"accuracy_at_{k}_high"],
        }
        for row in rows
        if row["full_dimension"]
        for k in top_k
    ]


def accuracy_over_dimension(rows: Sequence[Record], headline_k: int) -> list[Record]:
    """Long format for plots: accuracy@headline_k and MRR of each dense system at each dimension, ascending."""
    dense = [row for row in rows if row["method"] == "dense"]
    order = {name: place for place, name in enumerate(dict.fromkeys(_label(row) for row in dense))}
    return [
        {
            "system": _label(row),
            "dimension": row["dimension"],
            "accuracy": row[f"accuracy_at_{headline_k}"],
            "low": row[f"accuracy_at_{headline_k}_low"],
            "high": row[f"accuracy_at_{headline_k}_high"],
            "mrr": row["mrr"],
        }
        for row in sorted(dense, key=lambda row: (order[_label(row)], row["dimension"]))
    ]


def _label(row: Record) -> str:
    return f"{row['embedding']}_{row['instruction']}"


def to_text(rows: Sequence[Record], headline_k: int) -> str:
    """A table of the full-dimension systems for the terminal, the best MRR on top."""
    full = sorted((row for row in rows if row["full_dimension"]), key=lambda row: (-row["mrr"], row["system"]))
    lines = [f"{'system':<44}{'MRR':>7}{'95% interval':>16}{f'acc@{headline_k}':>8}{'nDCG@10':>9}"]
    for row in full:
        interval = f"{row['mrr_low']:.3f}-{row['mrr_high']:.3f}"
        accuracy = row[f"accuracy_at_{headline_k}"]
        lines.append(f"{row['system']:<44}{row['mrr']:>7.3f}{interval:>16}{accuracy:>8.3f}{row['ndcg_at_10']:>9.3f}")
    return "\n".join(lines)
