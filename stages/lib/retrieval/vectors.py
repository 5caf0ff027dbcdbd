"""The vectors of a document's passages, computed once and kept by what the document and the model are."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.lib.cache.code_identity import code_identity
from stages.lib.core.hashes import ledger_key
from stages.lib.core.records import atomic_path
from stages.lib.passages.passages import Passage, readable
from stages.lib.reranking.token_encoder import TokenEncoder
from stages.lib.weights.models import weights_identity

STORED = np.float16  # a cosine is off by less than 1e-3


@dataclass(frozen=True)
class PassageVectors:
    """Token vectors of N passages, T tokens in all, H dimensions."""

    starts: npt.NDArray[np.int64]  # (N + 1,) where each passage's tokens begin
    vectors: npt.NDArray[np.float16]  # (T, H) of length 1

    def mean(self) -> npt.NDArray[np.float32]:
        """(N, H) the mean vector of each passage, of length 1."""
        parts = np.split(self.vectors.astype(np.float32), self.starts[1:-1])
        means = np.stack([part.mean(axis=0) for part in parts])
        normalised: npt.NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return normalised


def token_vectors(
    passages: Sequence[Passage],
    encoder: TokenEncoder,
    directory: Path | None = None,
    advance: Callable[[int], object] = lambda _: None,
) -> PassageVectors:
    """The token vectors of one document's passages; `advance` is told how many passages are done.

    `directory`: where they are kept, complete or not at all; None: nowhere.
    """
    file = _file(directory, passages, encoder) if directory else None
    if file and file.is_file():
        with np.load(file, allow_pickle=False) as stored:
            advance(len(passages))
            return PassageVectors(stored["starts"], stored["vectors"])
    texts = [readable(passage.text) for passage in passages]
    plan = encoder.plan(texts)
    parts: dict[int, npt.NDArray[np.float16]] = {}
    with closing(encoder.encode_batches([[texts[i] for i in batch] for batch in plan], "document")) as batches:
        for batch, found in zip(plan, batches, strict=True):
            parts |= {i: one.vectors.astype(STORED) for i, one in zip(batch, found, strict=True)}
            advance(len(parts))
    starts = np.concatenate(([0], np.cumsum([len(parts[i]) for i in range(len(texts))])))
    result = PassageVectors(starts.astype(np.int64), np.concatenate([parts[i] for i in range(len(texts))]))
    if file:
        with atomic_path(file) as place_of, place_of.open("wb") as out:
            np.savez(out, starts=result.starts, vectors=result.vectors)
    return result


def forget_vectors(passages: Sequence[Passage], encoder: TokenEncoder, directory: Path) -> None:
    """Removes what `token_vectors` kept of a document."""
    _file(directory, passages, encoder).unlink(missing_ok=True)


def _file(directory: Path, passages: Sequence[Passage], encoder: TokenEncoder) -> Path:
    return directory / f"{_identity(passages, encoder)}.npz"


def _identity(passages: Sequence[Passage], encoder: TokenEncoder) -> str:
    code = code_identity(token_vectors, TokenEncoder)
    ids = [passage.id for passage in passages]
    return ledger_key(weights_identity(encoder.entry), encoder.entry.max_length, code, ids)
