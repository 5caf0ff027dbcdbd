"""What a trained retriever finds for the held-out questions: runs, as trec_eval calls them, in order of rank.

The benchmark reads them and measures them beside its own systems on the same questions.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stages.lib.core.records import Record
from stages.lib.search.fusion import z_scores


def run_records(
    system: str, method: str, questions: Sequence[str], rankings: Sequence[Sequence[int]], ids: Sequence[str]
) -> list[Record]:
    """A record a question: system, method, query and the ids of the chunks, best first."""
    return [
        {"system": system, "method": method, "query": question, "chunks": [ids[column] for column in ranking]}
        for question, ranking in zip(questions, rankings, strict=True)
    ]


def reranked(
    first: npt.NDArray[np.int64], scores: npt.NDArray[np.float64], other: npt.NDArray[np.float64], other_weight: float
) -> list[int]:
    """A ranking whose first candidates stand in a new order, those below as they were.

    Args:
        first: (n,) columns, best first.
        scores: (depth,) of the first candidates by the cross-encoder.
        other: (depth,) of the same by who ranked them first.
        other_weight: its share in the sum of both, as z-scores over these candidates, 0..1.
    """
    depth = len(scores)
    final = (1 - other_weight) * z_scores(scores) + other_weight * z_scores(other)
    return [int(first[place]) for place in [*np.argsort(-final, kind="stable").tolist(), *range(depth, len(first))]]
