"""The vectors of a text's tokens, by a ColBERT checkpoint or by any encoder: what late interaction compares.

A plain encoder is run as for embedding (embedding/token_states.py): on a CPU each text alone, by one thread, as many
at once as cores. ColBERT checkpoints, with their markers, expansions and projections, are left to
sentence-transformers, and so are encoders that only it runs.

Letters: T tokens of a text, H dimensions of a token's vector.
"""

import importlib.metadata
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.lib.core.records import read_json_object
from stages.lib.embedding.model_files import foreign_settings
from stages.lib.embedding.token_states import TokenStates, load_tokenizer
from stages.lib.weights.models import ModelEntry

SPECIAL = -1  # stands for a token that is no word: [CLS], [SEP], a ColBERT marker or its [MASK] expansion


class TokenVectors(NamedTuple):
    """One encoded text."""

    tokens: list[int]  # T ids, SPECIAL for tokens that are no words
    vectors: np.ndarray  # (T, H) float32, L2-normalised
    truncated: bool  # the model took only the beginning of the text


class TokenEncoder:
    """A model that gives each token a vector; its weights load at the first text."""

    def __init__(self, entry: ModelEntry, directory: Path) -> None:
        self.entry = entry
        self._directory = directory
        self._lock = threading.Lock()  # a fast tokenizer serves one thread at a time
        fast = (directory / "tokenizer.json").is_file()
        plain = fast and not is_late_interaction_checkpoint(directory) and not foreign_settings(directory)
        self._states = TokenStates(entry, directory) if plain else None

    @property
    def identity(self) -> list[str]:
        """What besides weights, text and task decides a vector: part of a ledger's key."""
        if self._states:
            return self._states.identity
        return [f"{name} {importlib.metadata.version(name)}" for name in ("sentence-transformers", "torch")]

    def plan(self, texts: Sequence[str]) -> list[list[int]]:
        """Positions of the texts in batches. On a CPU each is one text: its vectors depend on it alone."""
        if self._states:
            with self._lock:
                token_ids = self._states.tokenize(list(texts))
            return self._states.plan(token_ids)
        order = sorted(range(len(texts)), key=lambda i: (-len(texts[i]), i))
        return [order[start : start + self._at_once] for start in range(0, len(order), self._at_once)]

    def encode(self, texts: Sequence[str], task: str) -> list[TokenVectors]:
        """Vectors of texts as `task` (query, document) asks for them."""
        plan = self.plan(texts)
        with closing(self.encode_batches([[texts[i] for i in batch] for batch in plan], task)) as batches:
            found = dict(zip(chain(*plan), chain(*batches), strict=True))
        return [found[i] for i in range(len(texts))]

    def encode_batches(self, batches: list[list[str]], task: str) -> Generator[list[TokenVectors], None, None]:
        """Yields the vectors of each planned batch of texts, in order."""
        if self._states:
            yield from self._by_states(self._states, batches)
        else:
            for batch in batches:
                yield self._by_sentence_transformers(batch, task)

    def _by_states(self, states: TokenStates, batches: list[list[str]]) -> Generator[list[TokenVectors], None, None]:
        """A plain encoder has no tasks."""
        with self._lock:
            token_ids = [states.tokenize(batch) for batch in batches]
            long = {
                text
                for batch, ids in zip(batches, token_ids, strict=True)
                for text, tokens in zip(batch, ids, strict=True)
                if len(tokens) == states.max_length
            }
            whole = dict(zip(long, states.tokenize(list(long), truncate=False), strict=True))
        with closing(states.encode_tokens(token_ids)) as found:
            for batch, ids, vectors in zip(batches, token_ids, found, strict=True):
                words = [[SPECIAL if token in self._special else token for token in tokens] for tokens in ids]
                truncated = [text in whole and len(whole[text]) > states.max_length for text in batch]
                yield list(map(TokenVectors, words, vectors, truncated))

    def _by_sentence_transformers(self, texts: list[str], task: str) -> list[TokenVectors]:
        with self._lock:
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
                vectors = feature["token_embeddings"][kept].float().cpu().numpy()  # (T, H)
                encoded.append(TokenVectors(tokens, vectors, length > limit))
        return encoded

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
        return load_tokenizer(self._directory)

    @cached_property
    def _special(self) -> set[int]:
        added = self._tokenizer.get_added_tokens_decoder()
        return {number for number, token in added.items() if token.special}

    @property
    def _at_once(self) -> int:
        """Texts in a batch of sentence-transformers. On a CPU one: no padding, and no slower than batches of 32."""
        import torch

        return self.entry.batch_size if torch.cuda.is_available() else 1

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
