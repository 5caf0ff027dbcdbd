"""What near_pairs found by one embedding model, as dedup reads it: pairs, thresholds and the chunks' vectors."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stages.lib.core.params import from_mapping
from stages.lib.core.records import read_json_object, read_jsonl, write_array, write_json, write_jsonl

DIRECTORY = Path("data/near_pairs")
ChunkPair = tuple[int, int]  # positions of two chunks, the smaller first


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Cosines of one embedding model; scales differ from model to model."""

    automatic: float  # from here on a pair is a duplicate; above 1: never without asking
    floor: float  # from here on up to `automatic` a language model is asked, 0.1..1

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if not 0.1 <= self.floor <= min(1, self.automatic):
            raise ValueError(f"floor {self.floor} must lie in 0.1..1 and not above automatic ({self.automatic})")


@dataclass(frozen=True, kw_only=True)
class FoundPairs:
    """The near pairs of one embedding model, N chunks and H dimensions."""

    thresholds: Thresholds
    cosines: dict[ChunkPair, float]  # of all pairs at or above the floor, in order
    automatic: set[ChunkPair]  # those of them that are duplicates without asking
    vectors: np.ndarray  # (N, H) float32


def write_found(model: str, found: FoundPairs, ids: Sequence[str]) -> None:
    """Writes {model}.jsonl, {model}_thresholds.json and {model}_vectors.npy; `ids` of the chunks, in order.

    Cosines are written to their last bit.
    """
    write_array(DIRECTORY / f"{model}_vectors.npy", found.vectors)
    write_json(DIRECTORY / f"{model}_thresholds.json", asdict(found.thresholds))
    write_jsonl(
        DIRECTORY / f"{model}.jsonl",
        (
            {
                "a": ids[a],
                "b": ids[b],
                "cosine": cosine,
                "automatic": (a, b) in found.automatic,
            }
            for (a, b), cosine in found.cosines.items()
        ),
    )


def read_found(model: str, ids: Sequence[str]) -> FoundPairs:
    """Reads what `write_found` wrote; the vectors are mapped, not loaded.

    Raises:
        ValueError: a file is absent or broken, or of other chunks than `ids`.
    """
    again = f"run again: python -m stages.near_pairs {model}"
    file = DIRECTORY / f"{model}.jsonl"
    place = {chunk: position for position, chunk in enumerate(ids)}
    records = read_jsonl(file, required=["a", "b", "cosine", "automatic"])
    strange = [chunk for record in records for chunk in (record["a"], record["b"]) if chunk not in place]
    if strange:
        raise ValueError(f"{file}: the chunk {strange[0]!r} is not in chunks.jsonl; {again}")
    pairs = [(place[record["a"]], place[record["b"]]) for record in records]
    thresholds = DIRECTORY / f"{model}_thresholds.json"
    array = DIRECTORY / f"{model}_vectors.npy"
    try:
        vectors = np.load(array, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{array}: not an .npy file: {error}; {again}") from error
    if vectors.ndim != 2 or len(vectors) != len(ids):
        raise ValueError(f"{array}: shape {vectors.shape}, expected ({len(ids)}, H); {again}")
    return FoundPairs(
        thresholds=from_mapping(Thresholds, read_json_object(thresholds), where=str(thresholds)),
        cosines={pair: record["cosine"] for pair, record in zip(pairs, records, strict=True)},
        automatic={pair for pair, record in zip(pairs, records, strict=True) if record["automatic"]},
        vectors=vectors,
    )
