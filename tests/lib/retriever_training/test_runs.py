import numpy as np

from stages.lib.retriever_training.runs import reranked, run_records


def test_the_first_candidates_stand_by_the_new_scores_the_others_as_they_were() -> None:
    first, scores, other = np.array([7, 3, 5, 9]), np.array([0.1, 0.9, 0.2]), np.array([3.0, 2.0, 1.0])
    assert reranked(first, scores, other, 0.0) == [3, 5, 7, 9]
    assert reranked(first, scores, other, 1.0) == [7, 3, 5, 9]
    assert reranked(first, scores, other, 0.5) == [3, 7, 5, 9]


def test_a_record_names_the_chunks_in_order() -> None:
    assert run_records("s", "dense", ["q"], [[1, 0]], ["a", "b"]) == [
        {"system": "s", "method": "dense", "query": "q", "chunks": ["b", "a"]}
    ]
