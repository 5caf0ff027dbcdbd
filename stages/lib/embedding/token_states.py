"""Texts -> the states of their tokens by a transformer: tokens, batches, one forward pass a batch.

B rows per batch, T tokens, H the hidden size.

How fast: the time goes into matrix products over B x T tokens, and into reading the weights for each of them. On a CPU
a text of over 96 tokens is computed alone, at its own length. Shorter ones share the reading of the weights by fours:
of 32 tokens, four take 2.1 times as long as one (on two busy cores). Batches are computed by one thread each, and each
core takes the next when it is done with one: cores do not wait for each other in each layer, and one that other work
slows down holds up no other.

What a state depends on: matrix kernels choose their order of summation by the shape and the number of threads, so the
last bits of a state change with them. Both follow from the text alone here. So a state does not depend on what else is
embedded nor on the number of cores, bit for bit, on one kind of processor: an edited corpus gives what a run from
scratch gives.

On a CUDA device all batches are `batch_size` rows of like length, padded and filled up to one shape, one after the
other.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tokenizers
import torch

from stages.lib.core.records import read_json_object
from stages.lib.embedding import bert, model_files
from stages.lib.weights.models import ModelEntry, config_size, resolved_dtype
from stages.lib.weights.single_threads import each_by_one_thread

# Families whose first token has the position after the padding token's id.
COUNT_FROM_PADDING = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer", "data2vec-text"}
SHORTEST_STEP = 16  # tokens; padded lengths on a card are multiples of this, long ones of a sixteenth of their size
CPU_ROWS, CPU_STEP = 4, 8  # of a batch of short texts on a CPU, and the tokens whose multiples they are padded to
ALONE_FROM = 97  # tokens of a text that a CPU computes alone

R = TypeVar("R")


class TokenStates:
    """A model directory of the Hugging Face kind; the weights load at the first forward pass."""

    def __init__(self, entry: ModelEntry, directory: Path, left_padding: bool = False) -> None:
        """`left_padding`: where padding stands, if there is any.

        Raises:
            ValueError: no safetensors, no fast tokenizer, or no config that tells the sizes.
        """
        if not list(directory.glob("*.safetensors")):
            raise ValueError(f"{directory}: no *.safetensors here; weights in other formats are never loaded")
        config = read_json_object(directory / "config.json", hint="not a model directory of the Hugging Face kind")
        self.directory = directory
        self.hidden_size = config_size(directory, "hidden_size")
        self.max_length: int = _max_length(directory, entry.max_length)
        self.padding_token: int = config.get("pad_token_id") or 0
        self.left_padding = left_padding
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.pads = self.device == "cuda"  # all texts, to few shapes; a CPU the short ones alone
        self.batch_size = entry.batch_size if self.device == "cuda" else CPU_ROWS
        self.dtype: str = resolved_dtype(entry.dtype)
        self._tokenizer = load_tokenizer(directory)
        self._network: Any = None

    @property
    def identity(self) -> list[str]:
        """What besides weights and text decides a state: part of a ledger's key."""
        versions = [
            f"torch {torch.__version__}",
            f"tokenizers {tokenizers.__version__}",
            f"transformers {version('transformers')}",
        ]
        step = SHORTEST_STEP if self.pads else f"{CPU_STEP} below {ALONE_FROM}"
        shape = f"max_length={self.max_length} batch={self.batch_size} step={step}"
        return [self.device, self.dtype, shape, *versions]

    def tokenize(self, texts: list[str], truncate: bool = True) -> list[list[int]]:
        """Token ids with the special tokens that the model's tokenizer adds, cut to `max_length` if asked."""
        if truncate:
            self._tokenizer.enable_truncation(self.max_length)
        else:
            self._tokenizer.no_truncation()
        return [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]

    def plan(self, token_ids: Sequence[Sequence[int]]) -> list[list[int]]:
        """Positions of the texts in batches of one padded length and at most B rows.

        The longest come first, so that what does not fit into memory fails at once; ties by position.
        """
        lengths = [self.padded_length(ids) for ids in token_ids]
        order = sorted(range(len(token_ids)), key=lambda i: (-lengths[i], i))
        batches: list[list[int]] = []
        for i in order:
            if not batches or len(batches[-1]) == self._rows(lengths[i]) or lengths[batches[-1][0]] != lengths[i]:
                batches.append([])
            batches[-1].append(i)
        return batches

    def encode_tokens(self, batches: Iterable[Sequence[Sequence[int]]]) -> Generator[list[np.ndarray], None, None]:
        """Yields for each planned batch, in order, the vectors of each text's tokens: (T, H) float32, of length 1."""
        yield from self._each(self._token_vectors, batches)

    def _each(
        self, forward: Callable[[Sequence[Sequence[int]]], R], batches: Iterable[Sequence[Sequence[int]]]
    ) -> Generator[R, None, None]:
        if self._network is None:
            self._network = self._load()
        if self.device == "cuda":
            yield from map(forward, batches)
        else:
            yield from each_by_one_thread(forward, batches)

    @torch.inference_mode()
    def _token_vectors(self, token_ids: Sequence[Sequence[int]]) -> list[np.ndarray]:
        states, mask = self._states(token_ids)
        vectors = torch.nn.functional.normalize(states, dim=2)
        return [vectors[row][mask[row].bool()].cpu().numpy() for row in range(len(token_ids))]

    def _states(self, token_ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, H) float32 and (B, T), 1 for real tokens, of one batch; the rows that fill it up hold anything."""
        length = max(map(self.padded_length, token_ids))
        ids = torch.full((self._rows(length), length), self.padding_token)  # (B, T)
        mask = torch.zeros_like(ids)
        mask[len(token_ids) :] = 1
        for row, tokens in enumerate(token_ids):
            start = length - len(tokens) if self.left_padding else 0
            ids[row, start : start + len(tokens)] = torch.tensor(tokens)
            mask[row, start : start + len(tokens)] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        # Padding on the left must not move the positions; with padding on the right a model counts its own right.
        moves = self.left_padding
        positions = {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)} if moves else {}  # (B, T)
        output = self._network(input_ids=ids, attention_mask=mask, **positions)
        return output.last_hidden_state.float(), mask

    def padded_length(self, tokens: Sequence[int]) -> int:
        """Tokens of a text with its padding; never beyond `max_length`, where a model may have no positions left."""
        padded = padded_length(len(tokens)) if self.pads else -(-len(tokens) // CPU_STEP) * CPU_STEP
        alone = not self.pads and len(tokens) >= ALONE_FROM
        return len(tokens) if alone else min(padded, max(self.max_length, len(tokens)))

    def _rows(self, length: int) -> int:
        """B of the batches of a padded length."""
        return 1 if not self.pads and length >= ALONE_FROM else self.batch_size

    def _load(self) -> Any:
        if not self.pads and bert.is_plain(self.directory):
            return bert.load(self.directory, self.dtype)
        from transformers import AutoModel  # seconds to import: not before a state is missing
        from transformers.utils import logging

        logging.disable_progress_bar()  # of weights; the stage's own bar says more
        network = AutoModel.from_pretrained(
            self.directory, dtype=self.dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
        return network.eval().to(self.device)


def padded_length(tokens: int) -> int:
    """Tokens with padding: a multiple of 16, above 512 of the 16th to 32nd part of the length, so at most ~6% more."""
    step = max(SHORTEST_STEP, (1 << tokens.bit_length()) // 32)
    return -(-tokens // step) * step


def load_tokenizer(directory: Path) -> tokenizers.Tokenizer:
    """The fast tokenizer of a model directory, without padding and truncation.

    Raises:
        ValueError: there is none.
    """
    file = directory / "tokenizer.json"
    if not file.is_file():
        raise ValueError(f"{file}: no such file; embedding models need their fast tokenizer")
    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    tokenizer.no_padding()  # the file may ask for some
    tokenizer.no_truncation()
    if model_files.lower_cases(directory):
        first = tokenizers.normalizers.Lowercase()
        rest = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
        tokenizer.normalizer = tokenizers.normalizers.Sequence([first, *rest])
    return tokenizer


def _max_length(directory: Path, asked: int) -> int:
    """Tokens that the model takes: as asked, else its sentence-transformers limit, else the lowest of its other files.

    Never more than it has positions for, where those are counted from the padding token.
    """
    tokenizer_config = directory / "tokenizer_config.json"
    tokenizer = read_json_object(tokenizer_config) if tokenizer_config.is_file() else {}
    config = read_json_object(directory / "config.json")
    counts_from_padding = config.get("model_type") in COUNT_FROM_PADDING
    named = asked or model_files.own_sequence_limit(directory)
    if named and not counts_from_padding:
        return named
    positions = config_size(directory, "max_position_embeddings", "set max_length of its entry under models:")
    if counts_from_padding:  # of XLM-RoBERTa's 514 positions, 512 are for tokens
        positions -= int(config.get("pad_token_id") or 0) + 1
    return int(min(positions, named or tokenizer.get("model_max_length") or positions))
