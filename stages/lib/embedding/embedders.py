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
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.ledger import Ledger
from stages.lib.cache.place import cache_dir
from stages.lib.core.hashes import ledger_key
from stages.lib.core.progress import bar
from stages.lib.embedding.encoders import open_encoder
from stages.lib.embedding.written import Written, read_templates
from stages.lib.weights.models import ModelEntry, locate, weights_identity

LEDGER_FILE = Path("embeddings") / "ledger.sqlite"
READ_AT_ONCE = 10_000  # vectors taken from the ledger at a time


class Embedder:
    """An embedding model over a ledger of vectors; the weights load only when a vector is missing."""

    def __init__(self, name: str, entry: ModelEntry, ledger: Ledger) -> None:
        if entry.backend != "sentence_transformers":
            raise ValueError(f"models.{name}: backend {entry.backend!r} does not embed; use sentence_transformers")
        self.name = name
        self.entry = entry
        directory = locate(entry)
        self.encoder = open_encoder(entry, directory)
        self.templates = read_templates(entry, directory)
        self.computed = 0  # vectors that were not in the ledger
        self._ledger = ledger
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
            ValueError: a vector is not finite; names its text.
        """
        return self._encode(self.write_documents(texts, titles), progress, ids)

    def encode_queries(
        self,
        texts: Sequence[str],
        instruction: str = "",
        progress: str | None = "embed",
        ids: Sequence[str] | None = None,
    ) -> np.ndarray:
        """(n, H) float32, rows of length 1: the vectors of questions, each written by `write_queries`.

        Raises:
            ValueError: a vector is not finite; names its text.
        """
        return self._encode(self.write_queries(texts, instruction), progress, ids)

    def write_queries(self, texts: Sequence[str], instruction: str = "") -> list[Written]:
        """Queries as they are sent: by the entry's `query_template` or the model's own prompt (written.py)."""
        return [self.templates.write_query(text, instruction) for text in texts]

    def write_documents(self, texts: Sequence[str], titles: Sequence[str] | None = None) -> list[Written]:
        """Documents as they are sent: by the entry's `document_template` or the model's own prompt (written.py).

        `titles` are for templates with {title}; "" is written as "none".
        """
        titles = titles if titles is not None else [""] * len(texts)
        return [self.templates.write_document(text, title) for text, title in zip(texts, titles, strict=True)]

    def count_truncated(self, texts: Sequence[str], titles: Sequence[str] | None = None) -> int:
        """How many documents have more tokens than the model takes (what is beyond is not seen)."""
        return self._count_truncated(self.write_documents(texts, titles))

    def count_truncated_queries(self, texts: Sequence[str], instruction: str = "") -> int:
        """How many queries have more tokens than the model takes."""
        return self._count_truncated(self.write_queries(texts, instruction))

    def _count_truncated(self, texts: list[Written]) -> int:
        limit = self.encoder.max_length
        return sum(count > limit for count in self.encoder.token_counts(texts)) if limit else 0

    def _encode(self, texts: list[Written], progress: str | None, ids: Sequence[str] | None) -> np.ndarray:
        with self._lock:
            return self._encode_alone(texts, progress, ids)

    def _encode_alone(self, texts: list[Written], progress: str | None, ids: Sequence[str] | None) -> np.ndarray:
        first: dict[Written, int] = {}  # text -> the row where it is first asked for
        origin = [first.setdefault(text, row) for row, text in enumerate(texts)]
        rows = list(first.values())
        keys = [ledger_key(*self.identity, *self.encoder.key(texts[row])) for row in rows]
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)  # (n, H)
        missing = self._read(rows, keys, vectors)
        if missing:
            names = [repr(ids[row]) if ids else f"{row} ({texts[row].text[:60]!r}...)" for row in rows]
            with closing(self._missing_batches([texts[row] for row in rows], missing, progress)) as batches:
                for batch, found in batches:  # places in `rows`, (B, H)
                    for i, vector in zip(batch, found, strict=True):
                        if not abs(np.linalg.norm(vector) - 1) < 1e-3:  # also true of NaN
                            raise ValueError(f"{self.name}: the vector of text {names[i]} is not finite: {vector[:4]}")
                    new = [(i, vector) for i, vector in zip(batch, found, strict=True) if i in missing]
                    self._ledger.put((keys[i], vector.astype("<f4").tobytes()) for i, vector in new)
                    for i, vector in new:
                        vectors[rows[i]] = vector
                    self.computed += len(new)
        for row, source in enumerate(origin):
            if row != source:
                vectors[row] = vectors[source]
        return vectors

    def _read(self, rows: list[int], keys: list[str], vectors: np.ndarray) -> set[int]:
        """Fills the rows that the ledger knows; returns the places in `rows` of the others."""
        missing: set[int] = set()
        for start in range(0, len(rows), READ_AT_ONCE):
            known = self._ledger.get(keys[start : start + READ_AT_ONCE])
            for i in range(start, min(start + READ_AT_ONCE, len(rows))):
                if keys[i] in known:
                    vectors[rows[i]] = np.frombuffer(known[keys[i]], dtype="<f4")
                else:
                    missing.add(i)
        return missing

    def _missing_batches(
        self, texts: list[Written], missing: set[int], progress: str | None
    ) -> Generator[tuple[list[int], np.ndarray], None, None]:
        """Yields each batch of the plan over all texts in which one is missing, with its vectors (B, H)."""
        prepared = self.encoder.prepare(texts)
        todo = [batch for batch in self.encoder.plan(prepared) if not missing.isdisjoint(batch)]
        sizes = [sum(len(prepared[i]) for i in batch) for batch in todo]
        results = self.encoder.encode([[prepared[i] for i in batch] for batch in todo])
        with bar(progress, sum(sizes), "token", unit_scale=True) as counter, closing(results):
            for batch, size, vectors in zip(todo, sizes, results, strict=True):
                yield batch, vectors
                counter.update(size)


@contextmanager
def open_embedder(name: str, entry: ModelEntry) -> Iterator[Embedder]:
    """Opens the embedding model `models.<name>`, whose entry it is, over the project's ledger of vectors.

    Raises:
        ValueError: not an embedding model, or weights that are absent or not the pinned ones.
    """
    ledger = Ledger(cache_dir() / LEDGER_FILE)
    try:
        yield Embedder(name, entry, ledger)
    finally:
        ledger.close()
