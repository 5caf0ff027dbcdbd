"""Tokens on disk: `{train,val}_{number}.npy` of uint16, where documents start in each, and one manifest.

train_000000.npy             uint16 (tokens,)   every document's tokens, then eot; a document may go on in the next
train_000000.documents.npy   int64 (documents, 2) where in this shard documents start, and the number of their source
manifest.json                tokenizer, counts, names of the sources, SHA-256 of every file, and `fingerprint`, which
                             names them all
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stages.lib.core.hashes import ledger_key
from stages.lib.core.records import Record
from stages.lib.tokens.tokenizers import Tokenizer

FORMAT = 2  # 1 did not know sources
MANIFEST = "manifest.json"
DTYPE = np.dtype("<u2")
MAX_VOCABULARY = int(np.iinfo(DTYPE).max) + 1
ShardSplit = Literal["train", "val"]
SPLITS: tuple[ShardSplit, ...] = ("train", "val")
_BLOCK = 1 << 22  # tokens that are checked at once

Tokens = npt.NDArray[np.uint16]
Starts = npt.NDArray[np.int64]


def shard_name(split: str, number: int) -> str:
    """The file of a shard's tokens."""
    return f"{split}_{number:06d}.npy"


def documents_name(shard: str) -> str:
    """The file of a shard's document starts."""
    return shard.removesuffix(".npy") + ".documents.npy"


def tokenizer_record(tokenizer: Tokenizer) -> Record:
    """What manifests and checkpoints say of a tokenizer."""
    return {
        "name": tokenizer.name,
        "identity": tokenizer.identity,
        "vocab_size": tokenizer.vocab_size,
        "eot": tokenizer.eot,
    }


def manifest(
    tokenizer: Tokenizer, shard_tokens: int, shards: Mapping[ShardSplit, list[Record]], sources: Sequence[str]
) -> Record:
    """The content of manifest.json.

    Args:
        tokenizer: that made the ids.
        shard_tokens: tokens of a full shard.
        shards: of each split, as `{file, tokens, sha256, documents, documents_sha256}`.
        sources: the name of each source, by its number.
    """
    content: Record = {
        "format": FORMAT,
        "tokenizer": tokenizer_record(tokenizer),
        "dtype": "uint16",
        "shard_tokens": shard_tokens,
        "sources": list(sources),
        "splits": {
            split: {
                "tokens": sum(shard["tokens"] for shard in records),
                "documents": sum(shard["documents"] for shard in records),
                "shards": records,
            }
            for split, records in shards.items()
        },
    }
    return {**content, "fingerprint": fingerprint(content)}


def fingerprint(content: Record) -> str:
    """SHA-256 over the tokenizer and the content hashes of a manifest."""
    hashes = {
        split: [(shard["sha256"], shard["documents_sha256"]) for shard in part["shards"]]
        for split, part in content["splits"].items()
    }
    return ledger_key(content["format"], content["tokenizer"]["identity"], hashes)


@dataclass(frozen=True)
class Shards:
    """One split, as one long row of tokens."""

    tokens: int  # in all shards together
    fingerprint: str  # of the whole manifest
    document_starts: Starts  # (documents,), ascending, the first is 0
    ends: Starts  # (shards,): where each shard ends
    arrays: tuple[Tokens, ...]  # memory-mapped
    document_sources: Starts  # (documents,): the place in `sources` of where each came from
    sources: tuple[str, ...]  # names: packages, files or their patterns, data sets

    def read(self, start: int, length: int) -> Tokens:
        """Tokens start..start+length-1, (length,), across shards; in their own memory."""
        assert 0 <= start <= start + length <= self.tokens, (start, length, self.tokens)
        number = int(np.searchsorted(self.ends, start, side="right"))
        out = np.empty(length, dtype=np.uint16)
        filled = 0
        while filled < length:
            array = self.arrays[number]
            inside = start + filled - (int(self.ends[number]) - len(array))
            part = array[inside : inside + length - filled]
            out[filled : filled + len(part)] = part
            filled += len(part)
            number += 1
        return out


def open_shards(directory: Path, split: str, tokenizer: Tokenizer | None = None, verify: bool = True) -> Shards:
    """Opens one split, memory-mapped.

    `verify` reads every token once: SHA-256 of each file, and no token at or over the vocabulary's size.

    Raises:
        ValueError: no manifest or no such split, a missing, truncated or foreign shard, another tokenizer's shards.
    """
    content = read_manifest(directory)
    if tokenizer is not None and content["tokenizer"]["identity"] != tokenizer.identity:
        raise ValueError(
            f"{directory / MANIFEST}: written with tokenizer {content['tokenizer']['name']!r} "
            f"({content['tokenizer']['identity'][:12]}), this is {tokenizer.name!r} ({tokenizer.identity[:12]}): "
            "run the stage shard again, with the tokenizer that is wanted"
        )
    if split not in content["splits"]:
        raise ValueError(f"{directory / MANIFEST}: no split {split!r}; there are {sorted(content['splits'])}")
    arrays: list[Tokens] = []
    starts: list[Starts] = []
    sources: list[Starts] = []
    total = 0
    for record in content["splits"][split]["shards"]:
        array, documents = _open_shard(directory, record, content["tokenizer"]["vocab_size"], verify)
        arrays.append(array)
        starts.append(documents[:, 0] + total)
        sources.append(documents[:, 1])
        total += len(array)
    if not total:
        raise ValueError(f"{directory / MANIFEST}: the split {split!r} is empty")
    ends = np.cumsum([len(array) for array in arrays], dtype=np.int64)
    return Shards(
        tokens=total,
        fingerprint=content["fingerprint"],
        document_starts=np.concatenate(starts),
        ends=ends,
        arrays=tuple(arrays),
        document_sources=np.concatenate(sources),
        sources=tuple(content["sources"]),
    )


def read_manifest(directory: Path) -> Record:
    """The content of manifest.json.

    Raises:
        ValueError: not there, of another format, or changed by hand.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise ValueError(f"{path}: no such file; run the stage shard first")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = fingerprint(content) if content["format"] == FORMAT else ""
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: no manifest of shards ({error!r}); run the stage shard again") from error
    if content["format"] != FORMAT:
        raise ValueError(
            f"{path}: format {content['format']!r} of another version of this project, this one reads {FORMAT}; "
            "run the stage shard again: dvc repro shard"
        )
    if content["fingerprint"] != found:
        raise ValueError(f"{path}: its fingerprint does not fit its content; run the stage shard again")
    record: Record = content
    return record


def _open_shard(directory: Path, record: Record, vocab_size: int, verify: bool) -> tuple[Tokens, Starts]:
    path = directory / record["file"]
    array = _open_array(path, DTYPE, (record["tokens"],))
    if verify:
        _check_hash(path, record["sha256"])
        for start in range(0, len(array), _BLOCK):
            block = array[start : start + _BLOCK]
            if block.max() >= vocab_size:
                place = start + int(np.argmax(block >= vocab_size))
                raise ValueError(f"{path}: token {array[place]} at {place}, the tokenizer has {vocab_size}")
    path = directory / documents_name(record["file"])
    documents = _open_array(path, np.dtype("<i8"), (record["documents"], 2))
    if verify:
        _check_hash(path, record["documents_sha256"])
    return array, np.array(documents)


def _open_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    advice = "run the stage shard again"
    if not path.is_file():
        raise ValueError(f"{path}: no such file, though the manifest names it; {advice}")
    try:
        array = np.load(path, mmap_mode="r" if shape[0] else None, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: truncated, or no .npy file: {error}; {advice}") from error
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"{path}: {array.dtype} {array.shape}, the manifest says {dtype} {shape}: another run's file; {advice}"
        )
    return array


def _check_hash(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ValueError(f"{path}: sha256 is {found}, the manifest says {expected}; run the stage shard again")
