"""Texts -> vectors by a transformer: the states of a text's tokens (token_states.py), pooled to one vector.

B rows per batch, T tokens, H the hidden size.
"""

from array import array
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from stages.lib.embedding import model_files, pooling
from stages.lib.embedding.token_states import TokenStates
from stages.lib.embedding.written import Written
from stages.lib.weights.models import ModelEntry


class TextEncoder(TokenStates):
    """A model directory whose vectors are pooled states."""

    def __init__(self, entry: ModelEntry, directory: Path, pooling_name: str) -> None:
        """`pooling_name`: one of POOLINGS; last-token pooling goes with padding on the left, as for Qwen3-Embedding."""
        super().__init__(entry, directory, left_padding=pooling_name == "lasttoken")
        self.dimension = min(self.hidden_size, model_files.truncate_dim(directory) or self.hidden_size)
        self.pooling = pooling_name

    @property
    def identity(self) -> list[str]:
        """What besides weights and text decides a vector: part of the ledger's key."""
        shape = self.pooling + (f" dimension={self.dimension}" if self.dimension < self.hidden_size else "")
        return [shape, *super().identity]

    def key(self, written: Written) -> list[str]:
        """What of a text decides its vector."""
        return [written.text]

    def token_counts(self, texts: list[Written]) -> list[int]:
        """Tokens of whole texts, special ones included."""
        return [len(ids) for ids in self.tokenize([written.text for written in texts], truncate=False)]

    def prepare(self, texts: list[Written]) -> list["array[int]"]:
        """The texts as `plan` and `encode` take them: 4 bytes a token, where a list of numbers takes 36."""
        return [array("i", ids) for ids in self.tokenize([written.text for written in texts])]

    def encode(self, batches: Iterable[Sequence[Sequence[int]]]) -> Generator[np.ndarray, None, None]:
        """Yields (n, H) float32, rows of length 1, for the n <= B texts (token ids) of each planned batch, in order."""
        yield from self._each(self._forward, batches)

    @torch.inference_mode()
    def _forward(self, token_ids: Sequence[Sequence[int]]) -> np.ndarray:
        states, mask = self._states(token_ids)
        vectors = pooling.POOLINGS[self.pooling](states, mask)[:, : self.dimension]  # (B, H)
        normalised: np.ndarray = torch.nn.functional.normalize(vectors, dim=1)[: len(token_ids)].cpu().numpy()
        return normalised
