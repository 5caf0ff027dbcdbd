"""chunks.jsonl -> data/near_pairs/{model}*: every pair of chunks that one embedding model finds near, exactly.

Run: python -m stages.near_pairs MODEL   (one of dedup.models)

A pair is near from the model's floor on, and a duplicate without asking from `automatic` on; dedup
gathers the pairs of all models and asks about the others. One process a model, so that a model more
embeds and searches for that model alone.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.core.metrics import Stopwatch, all_kept, ending, write_metrics
from stages.lib.core.params import PARAMS_FILE, from_mapping, read_names, read_param
from stages.lib.core.records import read_jsonl
from stages.lib.embedding.embedders import open_embedder
from stages.lib.near_duplicates.found_pairs import DIRECTORY, FoundPairs, Thresholds, write_found
from stages.lib.near_duplicates.near_pairs import near_pairs
from stages.lib.weights.models import load_model_entry

CHUNKS = Path("data/chunks/chunks.jsonl")


@dataclass(frozen=True, kw_only=True)
class Params:
    """Of section `dedup` of params.yaml what the search for near pairs needs; the thresholds of one model."""

    thresholds: Thresholds
    memory_mb: int  # working memory of the search, beside the vectors
    max_pairs: int  # more pairs than this mean that the floor is too low, >= 1

    def __post_init__(self) -> None:
        """Checks the range."""
        if self.max_pairs < 1:
            raise ValueError("max_pairs must be >= 1")


def load_params(model: str) -> Params:
    """Reads the keys of section `dedup` that this model's search needs, and no other model's.

    Raises:
        ValueError: the model is not one of dedup.models or has no thresholds, or a key is missing or of another type.
    """
    models = read_names("dedup.models")
    if model not in models:
        raise ValueError(f"usage: python -m stages.near_pairs MODEL, one of dedup.models {models}; found {model!r}")
    thresholds = read_param(f"dedup.thresholds.{model}")
    if thresholds is None:
        raise ValueError(f"{PARAMS_FILE}: dedup.thresholds: none for {model!r}")
    limits = {key: read_param(f"dedup.{key}") for key in ("memory_mb", "max_pairs")}
    return from_mapping(Params, {"thresholds": thresholds, **limits}, where=f"{PARAMS_FILE}: dedup")


def find_pairs(texts: Sequence[str], vectors: np.ndarray, truncated: Sequence[bool], params: Params) -> FoundPairs:
    """The near pairs of one model, in order, and those of them that are automatic.

    A text longer than the model takes was not seen to its end: such a pair is for the judge, unless its
    texts are equal.

    Args:
        texts: of the chunks.
        vectors: (N, H), of norm 1.
        truncated: whether the model cuts a text short.
        params: of the search.
    """
    near = near_pairs(
        vectors,
        params.thresholds.floor,
        memory_mb=params.memory_mb,
        max_pairs=params.max_pairs,
        progress="near pairs",
    )
    pairs = list(zip(near.first.tolist(), near.second.tolist(), strict=True))
    cosines = dict(zip(pairs, near.cosine.tolist(), strict=True))
    automatic = {
        (a, b)
        for (a, b), cosine in cosines.items()
        if cosine >= params.thresholds.automatic and (texts[a] == texts[b] or not (truncated[a] or truncated[b]))
    }
    return FoundPairs(thresholds=params.thresholds, cosines=cosines, automatic=automatic, vectors=vectors)


def summary(found: FoundPairs, truncated: Sequence[bool]) -> dict[str, Any]:
    """The metrics: pairs by what dedup does with them, and the chunks that the model does not read to their end."""
    automatic = len(found.automatic)
    return {
        "chunks": len(found.vectors),
        "truncated_chunks": sum(truncated),
        "pairs": {"found": len(found.cosines), "automatic": automatic, "in_the_band": len(found.cosines) - automatic},
    }


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The pairs found."""
    return {"near_pairs": {"found": results["pairs"]["found"]}}


def main() -> None:
    """Reads chunks.jsonl and embeds it by one model; writes the pairs, the vectors and the metrics."""
    if len(sys.argv) != 2:
        raise ValueError(f"usage: python -m stages.near_pairs MODEL, one of dedup.models; found {sys.argv[1:]}")
    model = sys.argv[1]
    params = load_params(model)
    watch = Stopwatch(f"near_pairs_{model}")
    chunks = read_jsonl(CHUNKS, required=["id", "text"])
    if not chunks:
        raise ValueError(f"{CHUNKS}: no chunks")
    ids = [chunk["id"] for chunk in chunks]
    if len(set(ids)) < len(ids):
        raise ValueError(f"{CHUNKS}: the id {Counter(ids).most_common(1)[0][0]!r} is there more than once")
    texts = [chunk["text"] for chunk in chunks]
    with open_embedder(model, load_model_entry(model)) as embedder:
        vectors = embedder.encode_documents(texts, f"near pairs {model}", ids=ids)
        truncated = [embedder.count_truncated([text]) > 0 for text in texts]
    watch.lap("embed")
    found = find_pairs(texts, vectors, truncated, params)
    watch.lap("search")
    write_found(model, found, ids)
    write_metrics(f"near_pairs_{model}", summary(found, truncated), headline)
    watch.lap("write")
    watch.write(chunks=len(chunks), pairs=len(found.cosines))
    made = f"{len(found.cosines):,} near pairs, {len(found.automatic):,} of them automatic,"
    print(ending(f"near_pairs {model}", all_kept(len(chunks)), "chunks", made, DIRECTORY / f"{model}.jsonl"))


if __name__ == "__main__":
    main()
