"""Rankings agree with trec_eval's order of the same scores, at every depth and dimension."""

import numpy as np
import pytest

from stages.lib.ranking.measures import rank
from stages.lib.ranking.rankings import (
    fuse_rankings,
    put_first,
    rank_dense,
    rank_scores,
    rank_sparse,
    tie_order,
    truncate,
)


def names(count: int) -> list[str]:
    """Ids in tie order: descending."""
    return sorted((f"c{i}" for i in range(count)), reverse=True)


def test_tie_order_is_descending_by_string() -> None:
    ids = ["b-2", "b-10", "a-1"]
    assert [ids[i] for i in tie_order(ids)] == ["b-2", "b-10", "a-1"]
    assert [ids[i] for i in tie_order(["a", "B", "b"])] == ["a-1", "b-2", "b-10"]  # "b" > "a" > "B"


@pytest.mark.parametrize("depth", [1, 5, 39, 40, 100])
@pytest.mark.parametrize("distinct", [1, 3, 1000])
def test_rank_scores_is_the_head_of_trec_evals_ranking(depth: int, distinct: int) -> None:
    ids = names(40)
    scores = np.random.default_rng(distinct).integers(0, distinct, 40).astype(np.float32)
    expected = rank(dict(zip(ids, scores.tolist(), strict=True)))[:depth]
    assert [ids[column] for column in rank_scores(scores, depth)] == expected


def test_sparse_rankings_leave_out_what_shares_no_word() -> None:
    scores = np.array([[0.0, 2.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=np.float32)
    assert [ranking.tolist() for ranking in rank_sparse(scores, depth=10)] == [[1, 2], []]


def test_truncated_vectors_are_normalised_again() -> None:
    vectors = np.array([[3, 4, 12], [0, 0, 1]], dtype=np.float32)
    assert truncate(vectors, 2) == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0]]))  # an all-zero head stays zero
    assert truncate(vectors, 3) is vectors


@pytest.mark.parametrize("dimension", [2, 8])
@pytest.mark.parametrize("depth", [3, 50])
def test_dense_rankings_are_exact_cosine_rankings(dimension: int, depth: int) -> None:
    generator = np.random.default_rng(0)
    documents = generator.normal(size=(50, 8)).astype(np.float32)
    documents[7], documents[30] = documents[3], documents[3]  # equal texts: ties go by descending id
    documents /= np.linalg.norm(documents, axis=1, keepdims=True)
    queries = np.concatenate([documents[3:4], generator.normal(size=(4, 8)).astype(np.float32)])
    ids = names(50)
    stored = generator.permutation(50)  # the order in which the vectors lie in their file
    found = rank_dense(queries, documents[stored], [ids[i] for i in stored], stored, dimension=dimension, depth=depth)
    for query, ranking in zip(queries.astype(np.float64), found, strict=True):
        heads = documents[:, :dimension].astype(np.float64)
        cosines = heads @ query[:dimension] / np.linalg.norm(heads, axis=1) / np.linalg.norm(query[:dimension])
        scores = np.round(cosines, 5).tolist()
        if depth == 50:  # at a cut, equal scores may be cut by another order than the one they are ranked by
            assert [ids[column] for column in ranking] == rank(dict(zip(ids, scores, strict=True)))
        else:
            assert [scores[column] for column in ranking] == sorted(scores, reverse=True)[:depth]
    assert found[0][:3].tolist() == [3, 7, 30]


def test_reranked_candidates_come_first_and_the_rest_keeps_the_dense_order() -> None:
    dense = np.array([4, 2, 0, 1, 3])
    assert put_first(np.array([0, 4, 2]), dense).tolist() == [0, 4, 2, 1, 3]
    assert put_first(np.array([9, 4]), dense).tolist() == [9, 4, 2, 0, 1]  # never longer than the dense one
    assert put_first(np.array([], dtype=np.int64), dense).tolist() == dense.tolist()


def test_fused_rankings() -> None:
    # Four documents. 0: 1/61 + 1/62, 1: 1/62 + 1/61 (a tie, the first column wins), 2 and 3: 1/63 (a tie).
    fused = fuse_rankings([np.array([0, 1, 2])], [np.array([1, 0, 3])], 4, k=60, depth=10)
    assert [ranking.tolist() for ranking in fused] == [[0, 1, 2, 3]]
    # k = 0: 2 has 1/1 + 1/3, 0 has 1/2 + 1/1, 1 has 1/3 + 1/2, and 3 is in neither ranking.
    assert fuse_rankings([np.array([2, 0, 1])], [np.array([0, 1, 2])], 4, k=0, depth=10)[0].tolist() == [0, 2, 1]
    assert fuse_rankings([np.array([2])], [np.array([], dtype=np.int64)], 4, k=60, depth=10)[0].tolist() == [2]
    assert fuse_rankings([np.array([0, 1, 2])], [np.array([1, 0, 3])], 4, k=60, depth=2)[0].tolist() == [0, 1]


def test_ranks_begin_at_1() -> None:
    def fused(first: list[int], second: list[int]) -> list[int]:
        return list(fuse_rankings([np.array(first)], [np.array(second)], 9, k=1, depth=10)[0])

    # 1/(1+2) + 1/(1+3) of document 1 is more than 1/(1+1) of a first one; from rank 0 it would be less.
    assert fused([0, 1, 2], [3, 4, 1])[0] == 1
    # 1/(1+3) + 1/(1+4) is less than 1/(1+1); from rank 2 it would be more.
    assert fused([0, 2, 1], [3, 4, 5, 1])[:3] == [0, 3, 1]
