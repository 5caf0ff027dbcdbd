"""An embedding model of `models:` as stages see it: texts in, L2-normalised vectors out, nothing computed twice.

A vector that was computed once is read from `.cache/embeddings/ledger.sqlite` ever after:
dedup embeds the chunks, embed asks for the same texts and computes nothing. Batches are
planned over the whole list of texts, not over what the ledger lacks, and each is committed
whole, so a killed run resumes with the batches that it would have had anyway.

The answers in GRPO's replies go through the ledger too, though replies are new at every step: short answers repeat
within a group and from step to step, references always do, and a training that resumes asks for the same again. An
answer costs 4 H bytes of the ledger (1.5 kB for H = 384).

Letters: n texts asked for, H the model's hidden size.
"""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.ledger import Ledger
from stages.lib.cache.place import cache_dir
from stages.lib.core.hashes import ledger_key
from stages.lib.core.progress import bar
from stages.lib.embedding.encoders import open_encoder
from stages.lib.embedding.written import Written, read_templates
from stages.lib.weights.models import ModelEntry, locate, weights_identity

# Texts as the encoder has prepared them, and batches of them (positions) -> (positions, vectors of them or why there is
# none), in any order: by others than this process (spread/vectors.py).
HandedOn = Callable[[Sequence[Any], list[list[int]]], Iterator[tuple[Sequence[int], Sequence[np.ndarray | Exception]]]]
LEDGER_FILE = Path("embeddings") / "ledger.sqlite"
READ_AT_ONCE = 10_000  # vectors taken from the ledger at a time: 15 MB of 384 numbers
TOKENIZE_AT_ONCE = 1_000  # texts; of a text a tokenizer keeps 100 bytes a token until it is done with all of them


class Embedder:
    """An embedding model over a ledger of vectors; the weights load only when a vector is missing."""

    def __init__(self, name: str, entry: ModelEntry, ledger: Ledger, handed_on: HandedOn | None = None) -> None:
        if entry.backend != "sentence_transformers":
            raise ValueError(f"models.{name}: backend {entry.backend!r} does not embed; use sentence_transformers")
        self.name = name
        self.entry = entry
        directory = locate(entry)
        self.encoder = open_encoder(entry, directory)
        self.templates = read_templates(entry, directory)
        self.computed = 0  # vectors that were not in the ledger
        self._ledger = ledger
        self._handed_on = handed_on
        self._lock = threading.Lock()  # a fast tokenizer serves one thread at a time
        code = code_identity(type(self.encoder))
        self.identity = [weights_identity(entry), *self.encoder.identity, code]  # what decides a vector, but the text

    @property
    def dimension(self) -> int:
        """H, numbers in a vector."""
        return self.encoder.dimension

    def encode_documents(
        self,
        texts: Sequence[str],
        progress: str | None = "embed",
        ids: Sequence[str] | None = None,
        titles: Sequence[str] | None = None,
    ) -> np.ndarray:
        """(n, H) float32, rows of length 1: the vectors of documents, each written as the model asks for it.

        So are texts that are compared with each other (chunks by dedup, answers): both sides alike.
        `ids` name them in errors; `progress` names the bar, None: there is none; `titles`: see `write_documents`.

        Raises:
            ValueError: a text has no vector, or one that is not finite; names it.
        """
        return self._encode(self._documents(texts, titles), progress, ids)

    def document_blocks(
        self,
        texts: Sequence[str],
        progress: str | None = "embed",
        ids: Sequence[str] | None = None,
        titles: Sequence[str] | None = None,
        failed: dict[int, str] | None = None,
    ) -> Iterator[np.ndarray]:
        """The rows of `encode_documents`, (n, H), in blocks: for who writes them down and holds no more than one.

        Whatever is missing is computed at the call. Texts that have no vector are left out and entered in `failed`,
        row -> why; None: the first of them is an error.
        """
        return self._blocks(self._documents(texts, titles), progress, ids, failed)

    def encode_queries(
        self,
        texts: Sequence[str],
        instruction: str = "",
        progress: str | None = "embed",
        ids: Sequence[str] | None = None,
    ) -> np.ndarray:
        """(n, H) float32, rows of length 1: the vectors of questions, each written by `write_queries`.

        Raises:
            ValueError: a text has no vector, or one that is not finite; names it.
        """
        return self._encode(self._queries(texts, instruction), progress, ids)

    def write_queries(self, texts: Sequence[str], instruction: str = "") -> list[Written]:
        """Queries as they are sent: by the entry's `query_template` or the model's own prompt (written.py)."""
        return list(self._queries(texts, instruction))

    def write_documents(self, texts: Sequence[str], titles: Sequence[str] | None = None) -> list[Written]:
        """Documents as they are sent: by the entry's `document_template` or the model's own prompt (written.py).

        `titles` are for templates with {title}; "" is written as "none".
        """
        return list(self._documents(texts, titles))

    def count_truncated(self, texts: Sequence[str], titles: Sequence[str] | None = None) -> int:
        """How many documents have more tokens than the model takes (what is beyond is not seen)."""
        return self._count_truncated(self._documents(texts, titles))

    def count_truncated_queries(self, texts: Sequence[str], instruction: str = "") -> int:
        """How many queries have more tokens than the model takes."""
        return self._count_truncated(self._queries(texts, instruction))

    def _queries(self, texts: Sequence[str], instruction: str) -> "_AsWritten":
        return _AsWritten(len(texts), lambda row: self.templates.write_query(texts[row], instruction))

    def _documents(self, texts: Sequence[str], titles: Sequence[str] | None) -> "_AsWritten":
        if titles is not None and len(titles) != len(texts):
            raise ValueError(f"{len(titles)} titles for {len(texts)} texts")
        return _AsWritten(
            len(texts), lambda row: self.templates.write_document(texts[row], titles[row] if titles else "")
        )

    def _count_truncated(self, texts: "_AsWritten") -> int:
        limit = self.encoder.max_length
        if not limit:
            return 0
        return sum(count > limit for part in texts.parts() for count in self.encoder.token_counts(part))

    def key(self, text: Written) -> str:
        """Of a text's vector in the ledger."""
        return ledger_key(*self.identity, *self.encoder.key(text))

    def _encode(self, texts: "_AsWritten", progress: str | None, ids: Sequence[str] | None) -> np.ndarray:
        vectors = np.empty((texts.count, self.dimension), dtype=np.float32)  # (n, H)
        start = 0
        for block in self._blocks(texts, progress, ids):
            vectors[start : start + len(block)] = block
            start += len(block)
        return vectors

    def _blocks(
        self,
        texts: "_AsWritten",
        progress: str | None,
        ids: Sequence[str] | None,
        failed: dict[int, str] | None = None,
    ) -> Iterator[np.ndarray]:
        """Computes what the ledger lacks; then all is read from it, a block at a time."""
        keys = [self.key(text) for text in texts]
        with self._lock:
            faults = self._compute_missing(texts, keys, progress)
        rows = {row: faults[key] for row, key in enumerate(keys) if key in faults} if faults else {}
        if rows and failed is None:
            row, fault = next(iter(rows.items()))
            name = repr(ids[row]) if ids else f"{row} ({texts[row].text[:60]!r}...)"
            raise ValueError(f"{self.name}: the vector of text {name} {fault}")
        if failed is not None:
            failed.update(rows)
        return self._read([key for row, key in enumerate(keys) if row not in rows])

    def _read(self, keys: list[str]) -> Iterator[np.ndarray]:
        for start in range(0, len(keys), READ_AT_ONCE):
            part = keys[start : start + READ_AT_ONCE]
            known = self._ledger.get(part)
            block = np.empty((len(part), self.dimension), dtype=np.float32)
            for row, key in enumerate(part):
                block[row] = np.frombuffer(known[key], dtype="<f4")
            yield block

    def _compute_missing(self, texts: "_AsWritten", keys: list[str], progress: str | None) -> dict[str, str]:
        """Puts the vectors that the ledger lacks into it; a text that is there twice is computed once.

        Returns the keys that get no vector, and why.
        """
        first: dict[str, int] = {}  # key -> the row where it is first asked for
        for row, key in enumerate(keys):
            first.setdefault(key, row)
        known = self._ledger.known(list(first))
        if len(known) == len(first):
            return {}
        rows = list(first.values())
        missing = {i for i, row in enumerate(rows) if keys[row] not in known}
        faults: dict[str, str] = {}
        with closing(self._missing_batches(texts.some(rows), missing, progress)) as batches:
            for batch, found in batches:  # places in `rows`, a vector (H,) or a fault of each
                new = []
                for i, vector in zip(batch, found, strict=True):
                    if i not in missing:
                        continue
                    if isinstance(vector, Exception):
                        faults[keys[rows[i]]] = f"cannot be computed: {vector}"
                    elif not abs(np.linalg.norm(vector) - 1) < 1e-3:  # also true of NaN
                        faults[keys[rows[i]]] = f"is not finite: {vector[:4]}"
                    else:
                        new.append((keys[rows[i]], vector.astype("<f4").tobytes()))
                self._ledger.put(new)
                self.computed += len(new)
        return faults

    def _missing_batches(
        self, texts: "_AsWritten", missing: set[int], progress: str | None
    ) -> Generator[tuple[Sequence[int], Sequence[np.ndarray | Exception]], None, None]:
        """Yields each batch of the plan over all texts in which one is missing, with its vectors (B, H)."""
        prepared = [text for part in texts.parts() for text in self.encoder.prepare(part)]
        todo = [batch for batch in self.encoder.plan(prepared) if not missing.isdisjoint(batch)]
        with bar(progress, sum(len(prepared[i]) for batch in todo for i in batch), "token", unit_scale=True) as counter:
            for batch, vectors in self._handed_on(prepared, todo) if self._handed_on else self._encoded(prepared, todo):
                yield batch, vectors
                counter.update(sum(len(prepared[i]) for i in batch))

    def _encoded(
        self, prepared: Sequence[Any], batches: list[list[int]]
    ) -> Generator[tuple[Sequence[int], Sequence[np.ndarray | Exception]], None, None]:
        with closing(self.encoder.encode([[prepared[i] for i in batch] for batch in batches])) as results:
            for batch, vectors in zip(batches, results, strict=True):
                yield batch, list(vectors)


@dataclass(frozen=True)
class _AsWritten:
    """Texts as they are sent, each written when it is looked at: no template makes a second copy of all of them."""

    count: int
    write: Callable[[int], Written]

    def __iter__(self) -> Iterator[Written]:
        return map(self.write, range(self.count))

    def __getitem__(self, row: int) -> Written:
        return self.write(row)

    def some(self, rows: Sequence[int]) -> "_AsWritten":
        """Those of the rows."""
        return _AsWritten(len(rows), lambda place: self.write(rows[place]))

    def parts(self) -> Iterator[list[Written]]:
        """So many as are tokenized together."""
        for start in range(0, self.count, TOKENIZE_AT_ONCE):
            yield [self.write(row) for row in range(start, min(start + TOKENIZE_AT_ONCE, self.count))]


@contextmanager
def open_embedder(name: str, entry: ModelEntry, handed_on: HandedOn | None = None) -> Iterator[Embedder]:
    """Opens the embedding model `models.<name>`, whose entry it is, over the project's ledger of vectors.

    `handed_on`: has the batches computed elsewhere.

    Raises:
        ValueError: not an embedding model, or weights that are absent or not the pinned ones.
    """
    ledger = Ledger(cache_dir() / LEDGER_FILE)
    try:
        yield Embedder(name, entry, ledger, handed_on)
    finally:
        ledger.close()
