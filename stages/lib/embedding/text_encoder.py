"""Texts -> vectors by a transformer: tokens, batches of fixed shapes, one forward pass a batch.

B rows per batch, T tokens (padding included), H the hidden size.

How fast: the time goes into matrix products over B x T tokens, padding included. Texts are
grouped by their token count; sentence-transformers sorts by characters, so that on docstrings
in chunks of 700 characters it computes 1.4 tokens for each real one, we 1.07. On a CPU every
core computes batches of its own, which spares the cores waiting for each other in each layer.

What a vector depends on: matrix kernels choose their order of summation by the shape and the
number of threads, so the last bits of a vector change with them. Here T follows from the text
alone, B is the same for every batch (short ones are filled up) and a batch is computed by one
thread. So a vector does not depend on what else is embedded nor on the number of cores, bit
for bit, on one kind of processor: an edited corpus gives what a run from scratch gives.

On a CUDA device batches are `batch_size` rows, one after the other. Those lines never ran
where this was written, for want of a device; the test marked `gpu` runs them.
"""

from array import array
from collections.abc import Generator, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch

from stages.lib.core.records import read_json_object
from stages.lib.embedding import model_files, pooling
from stages.lib.embedding.single_threads import each_by_one_thread
from stages.lib.embedding.written import Written
from stages.lib.weights.models import ModelEntry, config_size, resolved_dtype

CPU_ROWS = 4  # B on a CPU: as fast a token as 32, with less to fill up
# Families whose first token has the position after the padding token's id.
COUNT_FROM_PADDING = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer", "data2vec-text"}
SHORTEST_STEP = 16  # tokens; lengths are rounded up to multiples of this, long ones to a sixteenth of their size


class TextEncoder:
    """A model directory of the Hugging Face kind; the weights load at the first forward pass."""

    def __init__(self, entry: ModelEntry, directory: Path, pooling_name: str) -> None:
        """`pooling_name`: one of POOLINGS."""
        if not list(directory.glob("*.safetensors")):
            raise ValueError(f"{directory}: no *.safetensors here; weights in other formats are never loaded")
        config = read_json_object(directory / "config.json", hint="not a model directory of the Hugging Face kind")
        self.directory = directory
        self.hidden_size = config_size(directory, "hidden_size")
        self.dimension = min(self.hidden_size, model_files.truncate_dim(directory) or self.hidden_size)
        self.pooling = pooling_name
        self.max_length: int = _max_length(directory, entry.max_length)
        self.padding_token: int = config.get("pad_token_id") or 0
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.batch_size = entry.batch_size if self.device == "cuda" else CPU_ROWS
        self.dtype: str = resolved_dtype(entry.dtype)
        self._tokenizer = _load_tokenizer(directory / "tokenizer.json", model_files.lower_cases(directory))
        self._network: Any = None

    @property
    def identity(self) -> list[str]:
        """What besides weights and text decides a vector: part of the ledger's key."""
        shape = f"{self.pooling} max_length={self.max_length} batch={self.batch_size} step={SHORTEST_STEP}"
        shape += f" dimension={self.dimension}" if self.dimension < self.hidden_size else ""
        versions = [
            f"torch {torch.__version__}",
            f"tokenizers {tokenizers.__version__}",
            f"transformers {version('transformers')}",
        ]
        return [self.device, self.dtype, shape, *versions]

    def key(self, written: Written) -> list[str]:
        """What of a text decides its vector."""
        return [written.text]

    def token_counts(self, texts: list[Written]) -> list[int]:
        """Tokens of whole texts, special ones included."""
        return [len(ids) for ids in self.tokenize([written.text for written in texts], truncate=False)]

    def prepare(self, texts: list[Written]) -> list["array[int]"]:
        """The texts as `plan` and `encode` take them: 4 bytes a token, where a list of numbers takes 36."""
        return [array("i", ids) for ids in self.tokenize([written.text for written in texts])]

    def tokenize(self, texts: list[str], truncate: bool = True) -> list[list[int]]:
        """Token ids with the special tokens that the model's tokenizer adds, cut to `max_length` if asked."""
        if truncate:
            self._tokenizer.enable_truncation(self.max_length)
        else:
            self._tokenizer.no_truncation()
        return [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]

    def plan(self, token_ids: Sequence[Sequence[int]]) -> list[list[int]]:
        """Positions of the texts in batches of one padded length and at most `batch_size` rows.

        The longest come first, so that what does not fit into memory fails at once; ties by position.
        """
        lengths = [self.padded_length(ids) for ids in token_ids]
        order = sorted(range(len(token_ids)), key=lambda i: (-lengths[i], i))
        batches: list[list[int]] = []
        for i in order:
            if not batches or len(batches[-1]) == self.batch_size or lengths[batches[-1][0]] != lengths[i]:
                batches.append([])
            batches[-1].append(i)
        return batches

    def encode(self, batches: Iterable[Sequence[Sequence[int]]]) -> Generator[np.ndarray, None, None]:
        """Yields (n, H) float32, rows of length 1, for the n <= B texts (token ids) of each planned batch, in order."""
        if self._network is None:
            self._network = self._load()
        if self.device == "cuda":
            yield from map(self._forward, batches)
            return
        yield from each_by_one_thread(self._forward, batches)

    @torch.inference_mode()
    def _forward(self, token_ids: Sequence[Sequence[int]]) -> np.ndarray:
        """One batch.

        Last-token pooling goes with padding on the left, as in Qwen3-Embedding's model card.
        """
        length = max(map(self.padded_length, token_ids))
        left = self.pooling == "lasttoken"
        ids = torch.full((self.batch_size, length), self.padding_token)  # (B, T)
        mask = torch.zeros_like(ids)
        mask[len(token_ids) :] = 1  # the rows that fill the batch up: what they hold does not matter
        for row, tokens in enumerate(token_ids):
            start = length - len(tokens) if left else 0
            ids[row, start : start + len(tokens)] = torch.tensor(tokens)
            mask[row, start : start + len(tokens)] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        # Padding on the left must not move the positions; with padding on the right a model counts its own right.
        positions = {"position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)} if left else {}  # (B, T)
        output = self._network(input_ids=ids, attention_mask=mask, **positions)
        vectors = pooling.POOLINGS[self.pooling](output.last_hidden_state.float(), mask)[:, : self.dimension]  # (B, H)
        normalised: np.ndarray = torch.nn.functional.normalize(vectors, dim=1)[: len(token_ids)].cpu().numpy()
        return normalised

    def padded_length(self, tokens: Sequence[int]) -> int:
        """Tokens of a text with its padding; never beyond `max_length`, where a model may have no positions left."""
        return min(padded_length(len(tokens)), max(self.max_length, len(tokens)))

    def _load(self) -> Any:
        from transformers import AutoModel  # seconds to import: not before a vector is missing
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


def _load_tokenizer(path: Path, lower_case: bool) -> tokenizers.Tokenizer:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; embedding models need their fast tokenizer")
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.no_padding()  # the file may ask for some
    if lower_case:
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
