"""The vectors of a text's tokens, by a ColBERT checkpoint or by any encoder: what late interaction compares.

Letters: T tokens of a text, H dimensions of a token's vector.
"""

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.lib.core.records import read_json_object
from stages.lib.weights.models import ModelEntry

SPECIAL = -1  # stands for a token that is no word: [CLS], [SEP], a ColBERT marker or its [MASK] expansion


class TokenVectors(NamedTuple):
    """One encoded text."""

    tokens: list[int]  # T ids, SPECIAL for tokens that are no words
    vectors: np.ndarray  # (T, H) float64, L2-normalised
    truncated: bool  # the model took only the beginning of the text


class TokenEncoder:
    """A model that gives each token a vector; its weights load at the first text."""

    def __init__(self, entry: ModelEntry, directory: Path) -> None:
        self.entry = entry
        self._directory = directory
        self._lock = threading.Lock()  # a fast tokenizer serves one thread at a time

    def encode(self, texts: list[str], task: str) -> list[TokenVectors]:
        """Vectors of texts as `task` (query, document) asks for them."""
        with self._lock:
            return self._encode(texts, task)

    def _encode(self, texts: list[str], task: str) -> list[TokenVectors]:
        encode = self._encoder.encode_query if task == "query" else self._encoder.encode_document
        features = encode(texts, batch_size=len(texts), output_value=None, show_progress_bar=False)
        limit = self._limit(task)
        special = set(self._encoder.tokenizer.all_special_ids)
        encoded = []
        for text, feature in zip(texts, features, strict=True):
            kept = feature["attention_mask"].bool()  # (T,) what counts in the score
            tokens = [SPECIAL if token in special else token for token in feature["input_ids"][kept].tolist()]
            # The whole text's length; without a warning that it is long.
            length = len(self._encoder.tokenizer(text, verbose=False)["input_ids"])
            vectors = feature["token_embeddings"][kept].float().cpu().numpy().astype(np.float64)  # (T, H)
            encoded.append(TokenVectors(tokens, vectors, length > limit))
        return encoded

    def encode_all(self, texts: Sequence[str], task: str, at_once: int = 16) -> list[TokenVectors]:
        """As `encode`, in batches of texts of like length, which share little padding."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: dict[int, TokenVectors] = {}
        for start in range(0, len(order), at_once):
            batch = order[start : start + at_once]
            found |= dict(zip(batch, self.encode([texts[i] for i in batch], task), strict=True))
        return [found[i] for i in range(len(texts))]

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Word tokens of whole texts, without special ones; by the fast tokenizer alone, which needs no slow import.

        Raises:
            ValueError: the model has no tokenizer.json.
        """
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def word(self, token: int) -> str:
        """A token's text without the marks of its vocabulary (##, ▁, Ġ)."""
        return str(self._tokenizer.id_to_token(token) or "").strip("#▁Ġ ")

    @cached_property
    def _tokenizer(self) -> Any:
        import tokenizers

        file = self._directory / "tokenizer.json"
        if not file.is_file():
            raise ValueError(f"{file}: no such file; weighing words by IDF needs the model's fast tokenizer")
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def _limit(self, task: str) -> int:
        """Tokens of a text that the model takes, without a ColBERT's marker."""
        backbone = self._encoder[0]
        expansion = backbone.query_expansion
        own = backbone.document_length if task == "document" else (expansion or {}).get("length", backbone.query_length)
        marker = 1 if (self._encoder.prompts.get(task) or "").strip() else 0
        return int(own or self._encoder.max_seq_length) - marker

    @cached_property
    def _encoder(self) -> Any:
        import torch
        from sentence_transformers import MultiVectorEncoder  # seconds to import: not before a pair is missing
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
        from sentence_transformers.sentence_transformer.modules import Normalize
        from transformers.utils import logging

        logging.disable_progress_bar()
        options: dict[str, Any] = {"dtype": self.entry.dtype, "use_safetensors": True}
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if is_late_interaction_checkpoint(self._directory):
            return MultiVectorEncoder(
                str(self._directory),
                device=device,
                model_kwargs=options,
                local_files_only=True,
                trust_remote_code=False,
            )
        # Loaded by its path, a plain encoder would get a freshly initialised, random projection to 128 dimensions.
        backbone = Transformer(
            str(self._directory),
            max_seq_length=self.entry.max_length or None,
            model_kwargs={**options, "local_files_only": True, "trust_remote_code": False},
        )
        modules = [backbone, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
        return MultiVectorEncoder(modules=modules, device=device)


def is_late_interaction_checkpoint(directory: Path) -> bool:
    """Whether a model was trained for late interaction: Stanford ColBERT, PyLate or sentence-transformers."""
    config = read_json_object(directory / "config.json", hint="not a model directory of the Hugging Face kind")
    settings = directory / "config_sentence_transformers.json"
    model_type = read_json_object(settings).get("model_type") if settings.is_file() else None
    return "HF_ColBERT" in (config.get("architectures") or []) or model_type in ("ColBERT", "MultiVectorEncoder")
