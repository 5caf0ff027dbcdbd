"""Tokenizing in parallel: the same ids for any number of workers, long documents in parts, a worker that dies."""

import os
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from stages.lib.shards import writing as sharding
from stages.lib.shards.shard_state import ShardState, source_identity
from stages.lib.shards.writing import Sorted, SplitWriter, tokenize
from stages.lib.tokens.tokenizers import load_tokenizer

GPT2 = load_tokenizer("gpt2")
TEXTS = [f"Document {i}, " + "with some words and 12 numbers\n" * (i % 7) for i in range(200)]
DOCUMENTS = [Sorted("val" if i % 5 == 0 else "train", i, text, i % 3) for i, text in enumerate(TEXTS)]


def ids_of(documents: list[Sorted], workers: int) -> list[list[int]]:
    found: list[list[int]] = []
    for document, tokens, first in tokenize(GPT2, iter(documents), workers):
        assert tokens.dtype == np.uint16
        if first:
            assert document is documents[len(found)]
            found.append([])
        found[-1].extend(tokens.tolist())
    return found


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_document_in_order_with_an_eot_behind_it(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    expected = [[*GPT2.encode(text).tolist(), GPT2.eot] for text in TEXTS]
    for batch_chars, part_chars in ((1 << 18, 1 << 20), (500, 50), (1, 1)):
        monkeypatch.setattr(sharding, "BATCH_CHARS", batch_chars)
        monkeypatch.setattr(sharding, "PART_CHARS", part_chars)
        assert ids_of(DOCUMENTS, workers) == expected


def test_documents_are_taken_only_a_little_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "BATCH_CHARS", 1)
    taken = 0

    def documents() -> Iterator[Sorted]:
        nonlocal taken
        for document in DOCUMENTS:
            taken += 1
            yield document

    for given, _ in enumerate(tokenize(GPT2, documents(), 2)):
        assert taken - given <= 6
    assert taken == 200


def test_a_worker_that_dies_is_told_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "encode_parts", lambda *_: os._exit(9))
    with pytest.raises(RuntimeError, match="out of memory") as error:
        ids_of(DOCUMENTS, 2)
    assert isinstance(error.value.__cause__, BrokenProcessPool)


def test_an_error_in_a_worker_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("this text")

    monkeypatch.setattr(sharding, "encode_parts", fail)
    with pytest.raises(ValueError, match="this text"):
        ids_of(DOCUMENTS, 2)


def write(root: Path, documents: list[np.ndarray], shard_tokens: int, part: int, stop: int = 10**9) -> ShardState:
    """Writes documents in parts of so many tokens; gives up, as if killed, after `stop` shards."""
    state = ShardState(root)
    writer = SplitWriter(state, "train", shard_tokens)
    for number, tokens in enumerate(documents):
        if writer.wants(number):
            for start in range(0, len(tokens), part):
                writer.add(number, number % 3, tokens[start : start + part], first=start == 0)
                if len(state.shards["train"]) >= stop:
                    return state
    writer.close(len(documents))
    return state


def stored(state: ShardState) -> tuple[list[int], list[int]]:
    """All tokens, and where documents start among them."""
    tokens: list[int] = []
    starts: list[int] = []
    for record in state.shards["train"]:
        file = state.directory / record["file"]
        documents = np.load(file.with_suffix(".documents.npy"))
        assert documents[:, 1].tolist() == [number % 3 for number in range(len(starts), len(starts) + len(documents))]
        starts.extend((documents[:, 0] + len(tokens)).tolist())
        tokens.extend(np.load(file).tolist())
    return tokens, starts


@pytest.mark.parametrize("shard_tokens", [5, 10, 64, 1000])
@pytest.mark.parametrize("part", [3, 1000])
def test_resuming_after_any_shard_gives_the_same_files(tmp_path: Path, shard_tokens: int, part: int) -> None:
    rng = np.random.default_rng(shard_tokens)
    lengths = rng.integers(1, 30, 20)
    documents = np.split(np.arange(lengths.sum(), dtype=np.uint16), np.cumsum(lengths)[:-1])
    whole = write(tmp_path / "whole", documents, shard_tokens, part)
    assert stored(whole) == (list(range(lengths.sum())), np.cumsum([0, *lengths[:-1]]).tolist())
    assert all(record["tokens"] == shard_tokens for record in whole.shards["train"][:-1])
    for stop in range(1, len(whole.shards["train"]), max(1, len(whole.shards["train"]) // 4)):
        root = tmp_path / f"cut_{stop}"
        write(root, documents, shard_tokens, part, stop)
        assert write(root, documents, shard_tokens, part).shards == whole.shards


def test_a_damaged_shard_is_written_again_with_those_behind_it(tmp_path: Path) -> None:
    documents = [np.arange(100, dtype=np.uint16)]
    whole = write(tmp_path, documents, 10, 1000)
    (tmp_path / "shards/train_000004.npy").write_bytes(b"cut")
    state = ShardState(tmp_path)
    assert len(state.shards["train"]) == 4
    assert state.next("train") == (0, 40)
    assert write(tmp_path, documents, 10, 1000).shards == whole.shards
    assert len(ShardState(tmp_path).shards["train"]) == 10


def test_a_source_is_known_by_its_content(tmp_path: Path) -> None:
    from stages.lib.corpus.sources import parse_source

    (tmp_path / "a.txt").write_text("one")
    files = {"kind": "files", "patterns": [str(tmp_path / "*.txt")]}
    hub = {"kind": "hub", "name": "text", "data_files": [str(tmp_path / "*.txt")]}
    packages = {"kind": "packages", "names": ["numpy"]}
    before = [source_identity(parse_source(source, "s")) for source in (files, hub, packages)]
    assert before == [source_identity(parse_source(source, "s")) for source in (files, hub, packages)]
    assert before[2]["versions"] == [np.__version__]
    (tmp_path / "a.txt").write_text("two")
    for source, old in zip((files, hub), before, strict=False):
        assert source_identity(parse_source(source, "s")) != old
