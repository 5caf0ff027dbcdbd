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
from tqdm import tqdm

from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.ledger import Ledger
from stages.lib.cache.place import cache_dir
from stages.lib.core.hashes import ledger_key
from stages.lib.core.params import fill
from stages.lib.embedding.text_encoder import TextEncoder
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
        self.encoder = TextEncoder(entry, directory)
        self.computed = 0  # vectors that were not in the ledger
        self._ledger = ledger
        self._lock = threading.Lock()  # a fast tokenizer serves one thread at a time
        code = code_identity(TextEncoder)
        self.identity = [weights_identity(entry), *self.encoder.identity, code]  # what decides a vector, but the text

    @property
    def dimension(self) -> int:
        """H, numbers in a vector."""
        return self.encoder.dimension

    def encode_documents(
        self, texts: Sequence[str], progress: str | None = "embed", ids: Sequence[str] | None = None
    ) -> np.ndarray:
        """(n, H) float32, rows of length 1: the vectors of the texts as they are.

        `ids` name them in errors; `progress` names the bar, None: there is none.

        Raises:
            ValueError: a vector is not finite; names its text.
        """
        return self._encode(list(texts), progress, ids)

    def encode_queries(
        self,
        texts: Sequence[str],
        instruction: str = "",
        progress: str | None = "embed",
        ids: Sequence[str] | None = None,
    ) -> np.ndarray:
        """(n, H) float32, rows of length 1: the vectors of questions, each written by `query_text`.

        Raises:
            ValueError: a vector is not finite; names its text.
        """
        return self._encode([self.query_text(text, instruction) for text in texts], progress, ids)

    def query_text(self, query: str, instruction: str = "") -> str:
        """A query as it is sent: alone, or with an instruction as the model's `query_template` says.

        A model whose template has no place for an instruction gets "instruction: query": a real
        variant to measure, though MiniLM, for one, was not trained for it.
        """
        if not instruction:
            return query
        if "{instruction}" in self.entry.query_template:
            return fill(self.entry.query_template, instruction=instruction, query=query)
        return f"{instruction}: {query}"

    def count_truncated(self, texts: Sequence[str]) -> int:
        """How many of the texts have more tokens than the model takes (what is beyond is not seen)."""
        return sum(len(ids) > self.encoder.max_length for ids in self.encoder.tokenize(list(texts), truncate=False))

    def _encode(self, texts: list[str], progress: str | None, ids: Sequence[str] | None) -> np.ndarray:
        with self._lock:
            return self._encode_alone(texts, progress, ids)

    def _encode_alone(self, texts: list[str], progress: str | None, ids: Sequence[str] | None) -> np.ndarray:
        first: dict[str, int] = {}  # text -> the row where it is first asked for
        origin = [first.setdefault(text, row) for row, text in enumerate(texts)]
        rows = list(first.values())
        keys = [ledger_key(*self.identity, texts[row]) for row in rows]
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)  # (n, H)
        missing = self._read(rows, keys, vectors)
        if missing:
            names = [repr(ids[row]) if ids else f"{row} ({texts[row][:60]!r}...)" for row in rows]
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
        self, texts: list[str], missing: set[int], progress: str | None
    ) -> Generator[tuple[list[int], np.ndarray], None, None]:
        """Yields each batch of the plan over all texts in which one is missing, with its vectors (B, H)."""
        token_ids = self.encoder.tokenize(texts)
        todo = [batch for batch in self.encoder.plan(token_ids) if not missing.isdisjoint(batch)]
        sizes = [sum(len(token_ids[i]) for i in batch) for batch in todo]
        results = self.encoder.encode([[token_ids[i] for i in batch] for batch in todo])
        bar = tqdm(total=sum(sizes), desc=progress, unit="token", unit_scale=True, disable=progress is None)
        with bar, closing(results):
            for batch, size, vectors in zip(todo, sizes, results, strict=True):
                yield batch, vectors
                bar.update(size)


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
