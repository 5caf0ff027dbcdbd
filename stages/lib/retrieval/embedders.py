"""Text -> vector by an embedding model of `models:`, through a ledger.

B texts in a batch, T tokens (padding included), H the model's hidden size, n texts asked for.

A vector that was computed once is read from `.cache/embeddings/ledger.sqlite` ever after:
dedup embeds the chunks, embed asks for the same texts and computes nothing. Batches are
planned over the whole list of texts, not over what the ledger lacks, and are committed
whole, so a killed run resumes with the batches that it would have had anyway.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from tqdm import tqdm

from stages.lib.ledger import Ledger, ledger_key
from stages.lib.models import ModelEntry, cache_dir, file_sha256, load_model_entry, locate
from stages.lib.params import PARAMS_FILE, fill
from stages.lib.retrieval import pooling

LEDGER_FILE = Path("embeddings") / "ledger.sqlite"


class Embedder:
    """An embedding model whose weights load only when a vector is not in the ledger."""

    def __init__(self, name: str, entry: ModelEntry, ledger: Ledger) -> None:
        if entry.backend != "sentence_transformers":
            raise ValueError(f"models.{name}: backend {entry.backend!r} does not embed; use sentence_transformers")
        self.name = name
        self.entry = entry
        self.directory = locate(entry)
        self._ledger = ledger
        self._network: Any = None
        if not list(self.directory.glob("*.safetensors")):
            raise ValueError(f"{self.directory}: no *.safetensors: other formats are unpickled, which we never do")
        self._config = _read_json(self.directory / "config.json")
        self.dimension: int = self._config["hidden_size"]
        self.pooling = "lasttoken" if entry.pooling == "last_token" else pooling.read_pooling(self.directory)
        self.max_length = entry.max_length or _own_max_length(self.directory, self._config)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer = tokenizers.Tokenizer.from_file(str(self.directory / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._identity = [entry.identity, _weights_identity(entry, self.directory), self.device, self.max_length]
        self._identity += [self.pooling, f"torch {torch.__version__}", f"tokenizers {tokenizers.__version__}"]

    def encode_documents(self, texts: Sequence[str], progress: str = "embed") -> np.ndarray:
        """(n, H) float32, L2-normalised: the vectors of the texts as they are."""
        return self._encode(list(texts), progress)

    def encode_queries(self, texts: Sequence[str], instruction: str = "", progress: str = "embed") -> np.ndarray:
        """(n, H) float32, L2-normalised: the vectors of questions, written as the model's entry says."""
        return self._encode([self.query_text(text, instruction) for text in texts], progress)

    def query_text(self, query: str, instruction: str = "") -> str:
        """A query as it is sent: by the `query_template`, or "instruction: query" where that has no place for one.

        Without an instruction the query goes alone, as in the Qwen3-Embedding model card's scores without one.
        """
        if not instruction:
            return query
        if "{instruction}" in self.entry.query_template:
            return fill(self.entry.query_template, instruction=instruction, query=query)
        return f"{instruction}: {query}"

    def count_truncated(self, texts: Sequence[str]) -> int:
        """How many of the texts are longer than the model takes."""
        return sum(len(ids) > self.max_length for ids in self._tokenize(list(texts), truncate=False))

    def _encode(self, texts: list[str], progress: str) -> np.ndarray:
        unique = list(dict.fromkeys(texts))
        keys = {text: ledger_key(*self._identity, text) for text in unique}
        known = self._ledger.get(list(keys.values()))
        if len(known) < len(unique):
            self._compute(unique, keys, known, progress)
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = np.frombuffer(known[keys[text]], dtype="<f4")
        return vectors

    def _compute(self, texts: list[str], keys: dict[str, str], known: dict[str, bytes], progress: str) -> None:
        """Computes what is not known, batch by batch, each stored whole in one transaction."""
        token_ids = self._tokenize(texts, truncate=True)
        todo = [batch for batch in self._plan(token_ids) if any(keys[texts[i]] not in known for i in batch)]
        with tqdm(total=sum(map(len, todo)), desc=progress, unit="text") as bar:
            for batch in todo:
                vectors = self._forward([token_ids[i] for i in batch])  # (B, H)
                for row, i in enumerate(batch):
                    if not np.isfinite(vectors[row]).all():
                        raise ValueError(f"{self.name}: the vector of {texts[i][:80]!r}... is not finite")
                new = {keys[texts[i]]: vectors[row].astype("<f4").tobytes() for row, i in enumerate(batch)}
                new = {key: value for key, value in new.items() if key not in known}
                self._ledger.put(new.items())
                known.update(new)
                bar.update(len(batch))

    def _plan(self, token_ids: list[list[int]]) -> list[list[int]]:
        """Positions of the texts in batches, by length, ties by position."""
        order = sorted(range(len(token_ids)), key=lambda i: (len(token_ids[i]), i))
        size = self.entry.batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _tokenize(self, texts: list[str], truncate: bool) -> list[list[int]]:
        if truncate:
            self._tokenizer.enable_truncation(self.max_length)
        else:
            self._tokenizer.no_truncation()
        return [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]

    @torch.inference_mode()
    def _forward(self, token_ids: list[list[int]]) -> np.ndarray:
        """(B, H) float32, L2-normalised. Causal models are padded on the left, so that the last token is the last."""
        if self._network is None:
            self._network = self._load()
        longest = max(map(len, token_ids))
        ids = torch.zeros((len(token_ids), longest), dtype=torch.long)  # (B, T)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(token_ids):
            place = slice(longest - len(tokens), longest) if self.pooling == "lasttoken" else slice(0, len(tokens))
            ids[row, place] = torch.tensor(tokens)
            mask[row, place] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        # Positions count real tokens, so that the padding does not move them.
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)  # (B, T)
        states = self._network(
            input_ids=ids, attention_mask=mask, position_ids=positions
        ).last_hidden_state  # (B, T, H)
        vectors = pooling.POOLINGS[self.pooling](states, mask).float()
        return torch.nn.functional.normalize(vectors, dim=1).cpu().numpy()

    def _load(self) -> Any:
        from transformers import AutoModel  # seconds to import: not before a vector is missing

        network = AutoModel.from_pretrained(
            self.directory, dtype=self.entry.dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
        return network.eval().to(self.device)


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


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; not a model directory of the Hugging Face kind")
    return json.loads(path.read_text(encoding="utf-8"))


def _own_max_length(directory: Path, config: dict[str, Any]) -> int:
    """Tokens that the model takes: its sentence-transformers limit, or its position embeddings."""
    settings = directory / "sentence_bert_config.json"
    own = _read_json(settings).get("max_seq_length") if settings.is_file() else None
    return int(own or config["max_position_embeddings"])


def _weights_identity(entry: ModelEntry, directory: Path) -> str:
    """Hash of weights that no revision or sha256 pins, since a path may hold others tomorrow."""
    if entry.revision or entry.sha256:
        return ""
    return ",".join(file_sha256(file) for file in sorted(directory.glob("*.safetensors")))
