"""Documents -> shards: tokenized in parallel, written in the documents' order, resumed at the next unwritten shard.

The parent reads, drops duplicates, and sends batches of text to the workers; what comes back (uint16 bytes: a pickled
list of ints would cost as much as the tokenizing) is put together in the order of the batches. So the bytes written
depend on neither the number of workers nor their speed.
"""

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.core.hashes import file_sha256
from stages.lib.core.records import Record, write_array
from stages.lib.shards.reading import DTYPE, ShardSplit, Starts, Tokens, documents_name, shard_name
from stages.lib.shards.shard_state import ShardPosition, ShardState
from stages.lib.tokens.tokenizers import Tokenizer, load_tokenizer

BATCH_CHARS = 1 << 18  # characters that a worker gets at once: 256 KB of text come back as about 120 KB of ids
PART_CHARS = 1 << 20  # a longer document goes in parts, so that one document keeps all workers busy and memory small
Part = tuple[str, bool]  # text, and whether the document ends with it
Encoded = tuple[bytes, list[int]]  # uint16 ids of a batch, and how many are each part's

_tokenizer: Tokenizer  # of a worker process


@dataclass(frozen=True)
class Sorted:
    """A document that is kept, or a part of it: its split, its number there, its text, the number of its source."""

    split: ShardSplit
    number: int
    text: str
    source: int


def encode_parts(tokenizer: Tokenizer, parts: list[Part]) -> Encoded:
    """The ids of parts, one after another, eot behind the last of a document."""
    arrays, lengths = [], []
    for text, ends in parts:
        ids = tokenizer.encode(text).astype(DTYPE)
        arrays.append(np.append(ids, DTYPE.type(tokenizer.eot)) if ends else ids)
        lengths.append(len(arrays[-1]))
    return np.concatenate(arrays).tobytes(), lengths


def tokenize(tokenizer: Tokenizer, documents: Iterable[Sorted], workers: int) -> Iterator[tuple[Sorted, Tokens, bool]]:
    """Yields (document, ids of a part of it, whether the part is its first), in the documents' order.

    Never more than a few batches are on their way, however fast the documents come.
    """
    if workers == 1:
        for batch in _batches(tokenizer, documents):
            yield from _spread(batch, encode_parts(tokenizer, _texts(batch)))
        return
    # Forked before anything of the sources is opened (the pool starts its processes at the first task, and the
    # executor has no threads before); elsewhere than on Linux a fork is not safe with system libraries.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (tokenizer.name,)) as pool:
        pool.submit(int).result()
        waiting: deque[tuple[list[_Piece], Future[Encoded]]] = deque()
        try:
            for batch in _batches(tokenizer, documents):
                waiting.append((batch, pool.submit(_encode_in_worker, _texts(batch))))
                if len(waiting) > 2 * workers:
                    done, future = waiting.popleft()
                    yield from _spread(done, future.result())
            while waiting:
                done, future = waiting.popleft()
                yield from _spread(done, future.result())
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a tokenizing process was killed (out of memory?): lower `workers` or `max_document_chars`; "
                "the next run goes on behind the finished shards"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_Piece = tuple[Sorted, str, bool, bool]  # document, part of its text, whether it is the first and the last


def _batches(tokenizer: Tokenizer, documents: Iterable[Sorted]) -> Iterator[list[_Piece]]:
    batch: list[_Piece] = []
    size = 0
    for document in documents:
        parts = [document.text] if len(document.text) <= PART_CHARS else tokenizer.parts(document.text, PART_CHARS)
        for i, part in enumerate(parts):
            batch.append((document, part, i == 0, i == len(parts) - 1))
            size += len(part)
            if size >= BATCH_CHARS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _texts(batch: list[_Piece]) -> list[Part]:
    return [(text, last) for _, text, _, last in batch]


def _spread(batch: list[_Piece], encoded: Encoded) -> Iterator[tuple[Sorted, Tokens, bool]]:
    ids, start = np.frombuffer(encoded[0], dtype=DTYPE), 0
    for (document, _, first, _), length in zip(batch, encoded[1], strict=True):
        yield document, ids[start : start + length], first
        start += length


def _start_worker(name: str) -> None:
    global _tokenizer  # noqa: PLW0603 - an initializer has no other place to leave it
    _tokenizer = load_tokenizer(name)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent has been killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _encode_in_worker(parts: list[Part]) -> Encoded:
    return encode_parts(_tokenizer, parts)


class SplitWriter:
    """Cuts one split's ids into shards of `shard_tokens`, and notes each in the state when it is on the disk."""

    def __init__(self, state: ShardState, split: ShardSplit, shard_tokens: int) -> None:
        self.state, self.split = state, split
        self._position = state.next(split)  # of the next token that is not on the disk
        self._skip = self._position.offset  # tokens of the first document that are on the disk
        self._buffer: Tokens = np.empty(shard_tokens, dtype=DTYPE)  # takes memory only as far as it is filled
        self._filled = 0
        self._inside = 0  # tokens of the current document so far
        self._starts: list[tuple[int, int]] = []  # of documents in this shard, and the numbers of their sources

    def wants(self, number: int) -> bool:
        """Whether any token of this document of the split is not on the disk."""
        return number >= self._position.document

    def add(self, number: int, source: int, tokens: Tokens, first: bool) -> None:
        """Appends a part of document `number`, which came from `source`; whole shards go to the disk."""
        if self._skip:
            skipped = min(self._skip, len(tokens))
            self._skip -= skipped
            tokens, first = tokens[skipped:], False
            inside = self._position.offset - self._skip
        else:
            inside = 0 if first else self._inside
        if first:
            self._starts.append((self._filled, source))
        while len(tokens):
            taken = min(len(tokens), len(self._buffer) - self._filled)
            self._buffer[self._filled : self._filled + taken] = tokens[:taken]
            self._filled += taken
            tokens, inside = tokens[taken:], inside + taken
            if self._filled == len(self._buffer):
                self._write(ShardPosition(number, inside))
        self._inside = inside

    def close(self, documents: int) -> None:
        """Writes what is left; `documents` is how many the split has."""
        if self._filled:
            self._write(ShardPosition(documents, 0))

    def _write(self, following: ShardPosition) -> None:
        number = len(self.state.shards[self.split])
        starts = np.array(self._starts, dtype=np.int64).reshape(-1, 2)
        try:
            record = write_shard(self.state.directory, self.split, number, self._buffer[: self._filled], starts)
        except OSError as error:
            written = sum(len(shards) for shards in self.state.shards.values())
            advice = f"{written} finished shards are kept there, and the next run goes on behind them"
            raise OSError(error.errno, f"{error.strerror} ({advice})", str(self.state.directory)) from error
        self.state.add(self.split, record, following)
        self._filled = 0
        self._starts = []


def write_shard(directory: Path, split: ShardSplit, number: int, tokens: Tokens, starts: Starts) -> Record:
    """Writes one shard and its documents' starts and sources (documents, 2), each file whole or not at all.

    Returns the manifest's record of it.
    """
    file = shard_name(split, number)
    assert tokens.dtype == DTYPE, tokens.dtype
    write_array(directory / documents_name(file), starts)
    write_array(directory / file, tokens)
    return {
        "file": file,
        "tokens": len(tokens),
        "sha256": file_sha256(directory / file),
        "documents": len(starts),
        "documents_sha256": file_sha256(directory / documents_name(file)),
    }
