import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from stages.lib.search import top_k as search
from stages.lib.search.top_k import exact_top_k


def _ids(count: int) -> list[str]:
    return [f"c{i:05d}" for i in range(count)]


def test_top_k_is_the_sorted_list_of_all_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK_SCORES", 1000)  # several blocks of queries and of documents
    monkeypatch.setattr(search, "BLOCK_DOCUMENTS", 77)
    random = np.random.default_rng(0)
    queries, documents = random.normal(size=(13, 16)), random.normal(size=(300, 16))
    found = exact_top_k(queries.astype(np.float32), documents.astype(np.float32), 7, _ids(300))
    products = queries.astype(np.float32).astype(float) @ documents.astype(np.float32).astype(float).T
    assert found.indices.tolist() == [sorted(range(300), key=lambda j: -row[j])[:7] for row in products]
    np.testing.assert_allclose(found.scores, np.take_along_axis(products, found.indices, 1), atol=1e-12)


def test_ties_go_by_id_and_not_by_position() -> None:
    documents = np.ones((5, 3), dtype=np.float32)
    found = exact_top_k(np.ones((1, 3), dtype=np.float32), documents, 3, ["e", "b", "d", "a", "c"])
    assert found.indices.tolist() == [[3, 1, 4]]  # a, b, c


def test_equal_vectors_tie_wherever_they_stand() -> None:
    random = np.random.default_rng(1)
    documents = random.normal(size=(1000, 384)).astype(np.float32)
    documents[[3, 500, 997]] = documents[0]
    query = documents[:1] / np.linalg.norm(documents[0])
    found = exact_top_k(query, documents, 4, _ids(1000))
    assert found.indices.tolist() == [[0, 3, 500, 997]]
    assert len(set(found.scores[0])) == 1


def test_ranking_does_not_depend_on_the_order_of_the_corpus() -> None:
    random = np.random.default_rng(2)
    documents = random.integers(-2, 3, size=(200, 8)).astype(np.float32)  # many ties
    queries = random.integers(-2, 3, size=(20, 8)).astype(np.float32)
    ids = np.array(_ids(200))
    shuffle = random.permutation(200)
    one = exact_top_k(queries, documents, 30, ids.tolist())
    other = exact_top_k(queries, documents[shuffle], 30, ids[shuffle].tolist())
    assert ids[one.indices].tolist() == ids[shuffle][other.indices].tolist()


def test_blocks_with_ties_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    documents = random.integers(-2, 3, size=(200, 8)).astype(np.float32)
    queries = random.integers(-2, 3, size=(20, 8)).astype(np.float32)
    ids = [f"c{i}" for i in random.permutation(200)]
    for k in (1, 30, 60, 200):
        one = exact_top_k(queries, documents, k, ids)
        with monkeypatch.context() as patch:
            patch.setattr(search, "BLOCK_DOCUMENTS", 7)
            many = exact_top_k(queries, documents, k, ids)
        assert one.indices.tolist() == many.indices.tolist() and one.scores.tobytes() == many.scores.tobytes()


def test_blocks_are_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK_DOCUMENTS", 7)
    random = np.random.default_rng(4)
    documents, queries = random.normal(size=(30, 8)), random.normal(size=(3, 4))
    found = exact_top_k(queries, documents, 5, _ids(30), prepare=lambda block: 2 * block[:, :4])
    whole = exact_top_k(queries, 2 * documents[:, :4], 5, _ids(30))
    assert found.indices.tolist() == whole.indices.tolist()


def test_vectors_in_a_mapped_file_are_never_all_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(search, "BLOCK_DOCUMENTS", 256)
    np.save(tmp_path / "v.npy", np.random.default_rng(5).normal(size=(20_000, 64)).astype(np.float32))  # 5 MB
    documents, ids = np.load(tmp_path / "v.npy", mmap_mode="r"), _ids(20_000)
    tracemalloc.start()
    try:
        exact_top_k(documents[:4], documents, 10, ids)
        assert tracemalloc.get_traced_memory()[1] < 3.5e6  # ids and blocks; a copy would take 5.1 or more
    finally:
        tracemalloc.stop()


def test_fewer_documents_than_k() -> None:
    found = exact_top_k(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), 10, ["x", "y"])
    assert found.indices.tolist() == [[0, 1], [1, 0]]


def test_no_queries() -> None:
    assert exact_top_k(np.empty((0, 2)), np.eye(2), 1, ["x", "y"]).indices.shape == (0, 1)


@pytest.mark.parametrize(
    ("queries", "documents", "k", "ids", "message"),
    [
        (np.ones((1, 3)), np.ones((2, 4)), 1, ["a", "b"], "do not go together"),
        (np.ones((1, 3)), np.ones((2, 3)), 1, ["a", "a"], "distinct ids"),
        (np.ones((1, 3)), np.ones((2, 3)), 1, ["a"], "distinct ids"),
        (np.ones((1, 3)), np.ones((2, 3)), 0, ["a", "b"], "no top 0"),
        (np.array([[1.0], [np.nan]]), np.ones((2, 1)), 1, ["a", "b"], "query 1"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    queries: np.ndarray, documents: np.ndarray, k: int, ids: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        exact_top_k(queries, documents, k, ids)
