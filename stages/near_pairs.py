"""chunks.jsonl -> data/near_pairs/{model}*: the pairs of chunks that one embedding model finds near, exactly.

Run: python -m stages.near_pairs MODEL   (one of dedup.models)

Chunks with the same words (equal but for case, markup, punctuation and white space) are one chunk here.
A pair is near from the model's threshold on; what becomes of it is for dedup, which gathers the pairs of all models.
Pages made from one template are all near each other: of a chunk the nearest `neighbours` are listed, those
in which the same numbers stand apart from the others, and the rest is counted. One process a model, so that
a model more embeds and searches for that model alone.
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("near_pairs", ["collapse", "embed", "search", "write"])

import sys
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.core.metrics import Stopwatch, check_counts, ending, write_metrics
from stages.lib.core.params import PARAMS_FILE, from_mapping, load, read_names, read_param
from stages.lib.core.records import iterate_jsonl
from stages.lib.embedding.embedders import open_embedder
from stages.lib.near_duplicates.found_pairs import DIRECTORY, FoundPairs, check_search, write_found
from stages.lib.near_duplicates.near_pairs import near_pairs
from stages.lib.spread.cluster import RayParams, check_engine, open_cluster
from stages.lib.spread.vectors import by_workers
from stages.lib.weights.models import load_model_entry
from stages.lib.wording.facts import numbers
from stages.lib.wording.form import same_words

CHUNKS = Path("data/chunks/chunks.jsonl")


@dataclass(frozen=True, kw_only=True)
class Params:
    """Of section `dedup` of params.yaml what the search for near pairs needs; the thresholds of one model."""

    thresholds: float  # that of the model: the cosine from which on a pair is near, 0.1..1
    memory_mb: int  # working memory of the search, beside the vectors
    neighbours: int  # of a chunk so many nearest are listed, >= 1

    def __post_init__(self) -> None:
        """Checks the ranges."""
        check_search({"thresholds": self.thresholds}, self.neighbours)


def load_params(model: str) -> Params:
    """Reads the keys of section `dedup` that this model's search needs, and no other model's.

    Raises:
        ValueError: the model is not one of dedup.models or has no thresholds, or a key is missing or of another type.
    """
    models = read_names("dedup.models")
    if model not in models:
        raise ValueError(f"usage: python -m stages.near_pairs MODEL, one of dedup.models {models}; found {model!r}")
    threshold = read_param(f"dedup.thresholds.{model}")
    if threshold is None:
        raise ValueError(f"{PARAMS_FILE}: dedup.thresholds: none for {model!r}")
    limits = {key: read_param(f"dedup.{key}") for key in ("memory_mb", "neighbours")}
    return from_mapping(Params, {"thresholds": threshold, **limits}, where=f"{PARAMS_FILE}: dedup")


def find_pairs(texts: Sequence[str], vectors: np.ndarray, params: Params) -> tuple[FoundPairs, dict[str, int]]:
    """The near pairs of one model, in order, and their counts: found, and of those listed how many in what way.

    Args:
        texts: of the chunks, no two of the same words.
        vectors: (N, H), of norm 1.
        params: of the search.
    """
    found: dict[Hashable, int] = {}
    kinds = [found.setdefault(numbers(text), len(found)) for text in texts]  # one for each set of numbers
    near = near_pairs(
        vectors,
        params.thresholds,
        memory_mb=params.memory_mb,
        neighbours=params.neighbours,
        kinds=kinds,
        progress="near pairs",
    )
    pairs = list(zip(near.first.tolist(), near.second.tolist(), strict=True))
    alike = sum(kinds[a] == kinds[b] for a, b in pairs)
    counts = {"found": near.found, "same_numbers": alike, "other_numbers": len(pairs) - alike}
    cosines = dict(zip(pairs, near.cosine.tolist(), strict=True))
    return FoundPairs(cosines=cosines, vectors=vectors), counts | {"beyond_neighbours": near.found - len(pairs)}


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The pairs found, listed or not."""
    return {"near_pairs": {"found": results["pairs"]["found"]}}


def main() -> None:
    """Reads chunks.jsonl and embeds it by one model; writes the pairs, the vectors and the metrics."""
    if len(sys.argv) != 2:
        raise ValueError(f"usage: python -m stages.near_pairs MODEL, one of dedup.models; found {sys.argv[1:]}")
    model = sys.argv[1]
    params = load_params(model)
    engine = check_engine(read_param("dedup.engine") or "local", "dedup.engine")  # who embeds
    watch = Stopwatch(f"near_pairs_{model}")
    ids: list[str] = []
    texts: list[str] = []
    for chunk in iterate_jsonl(CHUNKS, required=["id", "text"]):
        ids.append(chunk["id"])
        texts.append(chunk["text"])
    if not ids:
        raise ValueError(f"{CHUNKS}: no chunks")
    if len(set(ids)) < len(ids):
        raise ValueError(f"{CHUNKS}: the id {Counter(ids).most_common(1)[0][0]!r} is there more than once")
    own = sorted(set(same_words(texts)))
    texts, compared = [texts[i] for i in own], [ids[i] for i in own]
    watch.lap("collapse")
    entry = load_model_entry(model)
    with (
        open_cluster(engine, lambda: load(RayParams, "ray")) as cluster,
        open_embedder(model, entry, by_workers(cluster, entry)) as embedder,
    ):
        vectors = embedder.encode_documents(texts, f"near pairs {model}", ids=compared)
        truncated = embedder.count_truncated(texts)
    watch.lap("embed")
    found, pairs = find_pairs(texts, vectors, params)
    watch.lap("search")
    write_found(model, found, compared)
    counts = check_counts(len(ids), len(own), {"same_words": len(ids) - len(own)})
    metrics = {"chunks": counts, "truncated_chunks": truncated, "pairs": pairs}
    write_metrics(f"near_pairs_{model}", metrics, headline)
    watch.lap("write")
    watch.write(chunks=len(ids), pairs=pairs["found"])
    made = f"{len(found.cosines):,} of {pairs['found']:,} near pairs"
    if pairs["beyond_neighbours"]:
        print(
            f"near_pairs {model}: chunks have more than dedup.neighbours = {params.neighbours} near ones (pages from "
            f"one template?); the {pairs['beyond_neighbours']:,} pairs beyond are not looked at, so both chunks stay"
        )
    print(ending(f"near_pairs {model}", counts, "chunks", made, DIRECTORY / f"{model}.jsonl"))


if __name__ == "__main__":
    main()
