"""Texts -> vectors by sentence-transformers itself, for model directories with modules that we do not compute.

Dense layers (EmbeddingGemma, LaBSE, sentence-t5), other poolings, prompts left out of the pooling (INSTRUCTOR),
weights in folders of their own, encoders of encoder-decoders, static embeddings, routers for queries and documents.

On a CPU a text is computed alone, without padding and by one thread, and every core computes texts of its own: so a
vector does not depend on what else is embedded. On a CUDA device `batch_size` texts of like length share a batch, and
the last bits of a vector may change with them.
"""

import logging
import math
import threading
from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch

from stages.lib.core.records import read_json
from stages.lib.embedding.model_files import Layout
from stages.lib.embedding.written import Written
from stages.lib.weights.models import ModelEntry, resolved_dtype
from stages.lib.weights.single_threads import each_by_one_thread

NO_LIMIT = 1_000_000_000  # tokens; a model that names more has no limit


@dataclass(frozen=True)
class Measured:
    """A text with its length."""

    written: Written
    tokens: int  # that the model reads

    def __len__(self) -> int:
        return self.tokens


class ModuleEncoder:
    """A model directory of sentence-transformers, run by it; it loads with the first question."""

    def __init__(self, entry: ModelEntry, directory: Path, layout: Layout) -> None:
        """Raises: ValueError: weights in formats that are unpickled."""
        self.directory = directory
        self.pooling = f"{layout.pooling}, by sentence-transformers ({layout.foreign})"
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.batch_size = entry.batch_size if self.device == "cuda" else 1
        self.dtype: str = resolved_dtype(entry.dtype)
        self._asked_length = entry.max_length
        self._lock = threading.Lock()  # a fast tokenizer serves one thread at a time
        for module in read_json(directory / "modules.json"):
            folder = directory / str(module.get("path") or "")
            files = {file.suffix for file in folder.glob("*") if file.is_file()} if folder.is_dir() else set()
            if files & {".bin", ".pt", ".pth"} and ".safetensors" not in files:
                raise ValueError(
                    f"{folder}: no *.safetensors for module {module.get('type')}; other formats are unpickled, which "
                    "we never do"
                )

    @property
    def identity(self) -> list[str]:
        """What besides weights, text, prompt and task decides a vector: part of the ledger's key."""
        names = ("sentence-transformers", "torch", "tokenizers", "transformers")
        versions = [f"{name} {version(name)}" for name in names]
        shape = f"{self.pooling} max_length={self._asked_length} batch={self.batch_size}"
        return [self.device, self.dtype, shape, *versions]

    def key(self, written: Written) -> list[str]:
        """What of a text decides its vector: a router goes by the task, a pooling may leave the prompt out."""
        return list(written)

    @cached_property
    def dimension(self) -> int:
        """Numbers in a vector, after truncation to the directory's `truncate_dim`."""
        kept = self._model.truncate_dim
        whole: int | None = self._model.get_embedding_dimension()
        if whole is None:
            raise ValueError(f"{self.directory}: sentence-transformers does not tell the size of its vectors")
        return min(whole, kept) if kept else whole

    @cached_property
    def max_length(self) -> int:
        """Tokens that are read of a text; 0: all."""
        limit = self._model.max_seq_length
        return 0 if limit is None or not math.isfinite(limit) or limit >= NO_LIMIT else int(limit)

    def token_counts(self, texts: list[Written]) -> list[int]:
        """Tokens of whole texts, special ones included."""
        with self._lock:
            return [self._count(written.text) for written in texts]

    def prepare(self, texts: list[Written]) -> list[Measured]:
        """The texts with their lengths."""
        counts = self.token_counts(texts)
        limit = self.max_length or NO_LIMIT
        return [Measured(written, min(count, limit)) for written, count in zip(texts, counts, strict=True)]

    def plan(self, texts: list[Measured]) -> list[list[int]]:
        """Positions of the texts in batches, the longest first; a batch has one prompt and one task."""
        order = sorted(
            range(len(texts)), key=lambda i: (texts[i].written.prompt, texts[i].written.task, -len(texts[i]), i)
        )
        batches: list[list[int]] = []
        for i in order:
            if not batches or len(batches[-1]) == self.batch_size or not _alike(texts[batches[-1][0]], texts[i]):
                batches.append([])
            batches[-1].append(i)
        return sorted(batches, key=lambda batch: (-max(len(texts[i]) for i in batch), batch))

    def encode(self, batches: list[list[Measured]]) -> Generator[np.ndarray, None, None]:
        """Yields (n, H) float32, rows of length 1, for each planned batch, in order."""
        _ = self._model
        if self.device == "cuda":
            yield from map(self._forward, batches)
        else:
            yield from each_by_one_thread(self._forward, batches)

    @torch.inference_mode()
    def _forward(self, batch: list[Measured]) -> np.ndarray:
        first = batch[0].written
        rest = [measured.written.text[len(first.prompt) :] for measured in batch]
        with self._lock:
            features = self._model.preprocess(rest, prompt=first.prompt or None, task=first.task)
        features = {
            name: value.to(self.device) if isinstance(value, torch.Tensor) else value
            for name, value in features.items()
        }
        vectors = self._model(features, task=first.task)["sentence_embedding"].float()[:, : self.dimension]
        normalised: np.ndarray = torch.nn.functional.normalize(vectors, dim=1).cpu().numpy()
        return normalised

    def _count(self, text: str) -> int:
        tokenizer = self._model.tokenizer
        if isinstance(tokenizer, tokenizers.Tokenizer):
            return len(tokenizer.encode(text).ids)
        return len(tokenizer(text, truncation=False, verbose=False)["input_ids"])

    @cached_property
    def _model(self) -> Any:
        from sentence_transformers import SentenceTransformer  # seconds to import
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
        try:
            model = SentenceTransformer(
                str(self.directory),
                device=self.device,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"dtype": self.dtype, "use_safetensors": True},
            )
        except (ImportError, OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
            raise ValueError(f"{self.directory}: sentence-transformers cannot load it: {error}") from error
        if self._asked_length:
            model.max_seq_length = self._asked_length
        return model.eval()


def _alike(one: Measured, other: Measured) -> bool:
    return (one.written.prompt, one.written.task) == (other.written.prompt, other.written.task)
