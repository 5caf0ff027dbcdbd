"""An embedding model of `models:` as stages see it: texts in, L2-normalised vectors out, nothing computed twice.

A vector that was computed once is read from `.cache/embeddings/ledger.sqlite` ever after:
dedup embeds the chunks, embed asks for the same texts and computes nothing. Batches are
planned over the whole list of texts, not over what the ledger lacks, and each is committed
whole, so a killed run resumes with the batches that it would have had anyway.

Letters: n texts asked for, H the model's hidden size.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from stages.lib.ledger import Ledger, ledger_key
from stages.lib.models import ModelEntry, cache_dir, file_sha256, load_model_entry, locate
from stages.lib.params import PARAMS_FILE, fill
from stages.lib.retrieval.text_encoder import TextEncoder

LEDGER_FILE = Path("embeddings") / "ledger.sqlite"


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
        self._identity = [entry.identity, _unpinned_weights(entry, directory), *self.encoder.identity]

    @property
    def dimension(self) -> int:
        """H, numbers in a vector."""
        return self.encoder.dimension

    def encode_documents(
        self, texts: Sequence[str], progress: str = "embed", ids: Sequence[str] | None = None
    ) -> np.ndarray:
        """(n, H) float32, rows of length 1: the vectors of the texts as they are. `ids` name them in errors.

        Raises:
            ValueError: a vector is not finite; names its text.
        """
        return self._encode(list(texts), progress, ids)

    def encode_queries(
        self, texts: Sequence[str], instruction: str = "", progress: str = "embed", ids: Sequence[str] | None = None
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

    def _encode(self, texts: list[str], progress: str, ids: Sequence[str] | None) -> np.ndarray:
        first = {text: i for i, text in reversed(list(enumerate(texts)))}  # where each text is first asked for
        unique = sorted(first, key=first.__getitem__)
        keys = {text: ledger_key(*self._identity, text) for text in unique}
        known = self._ledger.get(list(keys.values()))
        if len(known) < len(unique):
            names = [repr(ids[first[text]]) if ids else f"{first[text]} ({text[:60]!r}...)" for text in unique]
            self._compute(unique, [keys[text] for text in unique], known, names, progress)
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = np.frombuffer(known[keys[text]], dtype="<f4")
        return vectors

    def _compute(
        self, texts: list[str], keys: list[str], known: dict[str, bytes], names: list[str], progress: str
    ) -> None:
        """Computes the batches in which a vector is missing and adds what was missing to `known` and the ledger."""
        token_ids = self.encoder.tokenize(texts)
        todo = [batch for batch in self.encoder.plan(token_ids) if any(keys[i] not in known for i in batch)]
        tokens = [sum(len(token_ids[i]) for i in batch) for batch in todo]
        results = self.encoder.encode([[token_ids[i] for i in batch] for batch in todo])
        with tqdm(total=sum(tokens), desc=progress, unit="token", unit_scale=True) as bar, closing(results):
            for batch, size, vectors in zip(todo, tokens, results, strict=True):  # vectors: (B, H)
                lengths = np.linalg.norm(vectors, axis=1)
                for row, i in enumerate(batch):
                    if not abs(lengths[row] - 1) < 1e-3:  # also true of NaN
                        raise ValueError(f"{self.name}: the vector of text {names[i]} has length {lengths[row]}")
                new = {keys[i]: vectors[row].astype("<f4").tobytes() for row, i in enumerate(batch)}
                new = {key: vector for key, vector in new.items() if key not in known}
                self._ledger.put(new.items())
                known.update(new)
                self.computed += len(new)
                bar.update(size)


@contextmanager
def open_embedder(name: str, path: Path = PARAMS_FILE) -> Iterator[Embedder]:
    """Opens the embedding model `models.<name>` over the project's ledger of vectors.

    Raises:
        ValueError: no such model, not an embedding model, or weights that are absent or not the pinned ones.
    """
    entry = load_model_entry(name, path)
    ledger = Ledger(cache_dir() / LEDGER_FILE)
    try:
        yield Embedder(name, entry, ledger)
    finally:
        ledger.close()


def _unpinned_weights(entry: ModelEntry, directory: Path) -> str:
    """Hash of weights that no revision and no sha256 pins, since a path may hold others tomorrow."""
    if entry.revision or entry.sha256:
        return ""
    return ",".join(file_sha256(file) for file in sorted(directory.glob("*.safetensors")))
