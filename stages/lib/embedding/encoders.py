"""Which encoder computes the vectors of a model directory: our own, or sentence-transformers."""

from collections.abc import Generator
from pathlib import Path
from typing import Any, Protocol, assert_never

import numpy as np

from stages.lib.embedding.model_files import read_layout
from stages.lib.embedding.module_encoder import ModuleEncoder
from stages.lib.embedding.text_encoder import TextEncoder
from stages.lib.embedding.written import Written
from stages.lib.weights.models import ModelEntry


class Encoder(Protocol):
    """What an Embedder needs of it. H: numbers in a vector."""

    pooling: str
    batch_size: int

    @property
    def dtype(self) -> str:
        """Of the weights and the arithmetic."""

    @property
    def dimension(self) -> int:
        """H."""

    @property
    def max_length(self) -> int:
        """Tokens that are read of a text; 0: all."""

    @property
    def identity(self) -> list[str]:
        """What besides weights and `key` decides a vector."""

    def key(self, written: Written) -> list[str]:
        """What of a text decides its vector."""

    def token_counts(self, texts: list[Written]) -> list[int]:
        """Tokens of whole texts, special ones included."""

    def prepare(self, texts: list[Written]) -> Any:
        """A list of the texts as `plan` and `encode` take them; the length of each is its tokens."""

    def plan(self, texts: Any) -> list[list[int]]:
        """Positions of the texts in batches."""

    def encode(self, batches: Any) -> Generator[np.ndarray, None, None]:
        """Yields (n, H) float32, rows of length 1, for each planned batch of texts, in order."""


def open_encoder(entry: ModelEntry, directory: Path) -> Encoder:
    """The encoder of a model directory; its weights load when they are first needed.

    Raises:
        ValueError: no model directory, weights that would be unpickled, or one that does not say how it pools.
    """
    match entry.pooling:
        case "last_token":
            return TextEncoder(entry, directory, "lasttoken")
        case "model":
            layout = read_layout(directory)
            if layout.foreign:
                return ModuleEncoder(entry, directory, layout)
            return TextEncoder(entry, directory, layout.pooling)
        case _:
            assert_never(entry.pooling)
