"""What embed and rerank wrote, read back and checked: vectors, ids, reranked candidates.

Letters: N chunks in the order of their id list, Q questions in the order of the selected ones, H dimensions.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.lib.core.records import read_json, read_jsonl

EMBEDDINGS = Path("data/embeddings")
RERANKING = Path("data/reranking")
BLOCK = 8192  # vectors that are checked at once


def read_corpus_ids(models: Sequence[str], known: Collection[str]) -> list[str]:
    """The chunk ids that all models embedded, in their order.

    Raises:
        ValueError: two models embedded different chunks, an id twice, or one that is not in `known`.
    """
    first: list[str] = []
    for model in models:
        path = EMBEDDINGS / f"{model}_chunks_ids.json"
        ids = _read_ids(path, model)
        strange = [name for name in ids if name not in known]
        if strange:
            raise ValueError(
                f"{path}: {len(strange)} ids are not in chunks.jsonl, the first {strange[0]!r}: {_again(model)}"
            )
        first = first or ids
        if ids != first:
            raise ValueError(f"{path}: other chunks, or another order, than {models[0]} embedded: {_again(model)}")
    return first


def read_vectors(model: str, count: int) -> npt.NDArray[np.float32]:
    """The chunk vectors of a model, (N, H), mapped: they are not in memory but where they are looked at.

    Raises:
        ValueError: the file is missing, not an array of `count` rows, or not normalised (NaN and infinity included).
    """
    return _read_array(EMBEDDINGS / f"{model}_chunks.npy", count, None, model)


def read_queries(model: str, instruction: str, questions: Sequence[str], dimension: int) -> npt.NDArray[np.float32]:
    """The query vectors of a model and instruction, (Q, H), in the order of `questions` (ids).

    Raises:
        ValueError: the embedded questions are not the selected ones, or the array does not fit.
    """
    path = EMBEDDINGS / f"{model}_query_ids.json"
    ids = _read_ids(path, model)
    if sorted(ids) != sorted(questions):
        raise ValueError(
            f"{path}: {len(ids)} embedded questions are not the {len(questions)} selected ones: {_again(model)}"
        )
    vectors = _read_array(EMBEDDINGS / f"{model}_{instruction}_query.npy", len(ids), dimension, model)
    places = {name: place for place, name in enumerate(ids)}
    return vectors[[places[name] for name in questions]]


def read_reranking(
    model: str, reranker: str, instruction: str, questions: Sequence[str], columns: Mapping[str, int]
) -> list[npt.NDArray[np.int64]]:
    """The reranked candidates of each question as columns, best first, in the order of `questions` (ids).

    Raises:
        ValueError: the file is missing, its questions are not the selected ones, or a candidate is unknown or repeated.
    """
    path = RERANKING / f"{model}_{reranker}_{instruction}_reranking.jsonl"
    again = f"run again: python -m stages.rerank {model} {reranker} {instruction}"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {again}")
    found: dict[str, npt.NDArray[np.int64]] = {}
    records = read_jsonl(path, ["query", "candidates"])
    for record in records:
        chunks = [candidate["chunk"] for candidate in sorted(record["candidates"], key=lambda one: one["rerank_rank"])]
        if len(set(chunks)) != len(chunks) or not columns.keys() >= set(chunks):
            raise ValueError(f"{path}: query {record['query']!r}: a candidate is repeated or was not embedded; {again}")
        found[record["query"]] = np.array([columns[chunk] for chunk in chunks], dtype=np.int64)
    if len(found) != len(records) or sorted(found) != sorted(questions):
        raise ValueError(f"{path}: its {len(records)} queries are not the {len(questions)} selected ones; {again}")
    return [found[name] for name in questions]


def _again(model: str) -> str:
    return f"run again: python -m stages.embed {model}"


def _read_ids(path: Path, model: str) -> list[str]:
    ids = read_json(path, hint=_again(model))
    if (
        not isinstance(ids, list)
        or not all(isinstance(name, str) for name in ids)
        or len({*ids}) != len(ids)
        or not ids
    ):
        raise ValueError(f"{path}: expected a list of distinct ids; {_again(model)}")
    return ids


def _read_array(path: Path, rows: int, dimension: int | None, model: str) -> npt.NDArray[np.float32]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {_again(model)}")
    try:
        vectors: npt.NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: not an .npy file: {error}; {_again(model)}") from error
    if vectors.ndim != 2 or len(vectors) != rows or dimension not in (None, vectors.shape[1]):
        raise ValueError(f"{path}: shape {vectors.shape}, expected ({rows}, {dimension or 'H'}); {_again(model)}")
    for start in range(0, rows, BLOCK):
        block = vectors[start : start + BLOCK]
        if not np.isfinite(block).all():
            raise ValueError(f"{path}: NaN or infinity among the vectors; {_again(model)}")
        lengths = np.linalg.norm(block, axis=1)
        far = np.flatnonzero(np.abs(lengths - 1) > 1e-3)
        if len(far):
            told = f"vector {start + far[0]} has length {lengths[far[0]]:.4g}, expected 1"
            raise ValueError(f"{path}: {told}; {_again(model)}")
    return vectors
