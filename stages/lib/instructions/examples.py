"""Instruction sources -> examples, a prompt and its answer each.

A source is a mapping of params.yaml: `kind: instructions` (records of prompt and answer, see records.py, in files of
record_files.py), `kind: spam` (spam_files.py), `kind: docstrings` (what installed packages say of their own classes and
functions).
"""

import hashlib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from stages.lib.core.params import from_mapping
from stages.lib.instructions.record_files import records_of
from stages.lib.instructions.records import ANSWER_KEYS, CONTEXT_KEYS, PROMPT_KEYS, Pair, as_pair
from stages.lib.instructions.spam_files import labelled_messages
from stages.lib.reading.documents import Document, Drop
from stages.lib.reading.packages import PackagesSource, read_packages
from stages.lib.reading.patterns import matched_files

_MAX_BYTES = 100_000_000  # of a package's file


@dataclass(frozen=True)
class Example:
    """A prompt and its answer."""

    prompt: str
    answer: str
    source: str  # file:line, or package==version:name

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of prompt and answer; decides the split."""
        return hashlib.sha256(f"{self.prompt}\0{self.answer}".encode()).digest()

    @cached_property
    def words(self) -> bytes:
        """SHA-256 of prompt and answer, white space aside; equal ones are duplicates, which no split may part."""
        said = "\0".join(" ".join(text.split()) for text in (self.prompt, self.answer))
        return hashlib.sha256(said.encode()).digest()


@dataclass(frozen=True, kw_only=True)
class InstructionFiles:
    """`kind: instructions`: records of a prompt and an answer by any of their names, or chats of one question."""

    kind: Literal["instructions"]
    patterns: list[str]  # globs of .json, .jsonl, .csv, .tsv, .parquet and .arrow files
    limit: int = 0  # examples at most; 0: all


@dataclass(frozen=True, kw_only=True)
class SpamFiles:
    """`kind: spam`: messages labelled ham or spam: the SMS Spam Collection, Kaggle's spam.csv and their like."""

    kind: Literal["spam"]
    patterns: list[str]
    limit: int = 0  # examples at most; 0: all


@dataclass(frozen=True, kw_only=True)
class Docstrings:
    """`kind: docstrings`: "Describe `name`." is answered by the first paragraph of that name's docstring."""

    kind: Literal["docstrings"]
    names: list[str]  # distributions, as pip names them
    min_chars: int = 30  # shorter first paragraphs are dropped (`short_paragraph`)
    limit: int = 0  # examples at most; 0: all


InstructionSource = InstructionFiles | SpamFiles | Docstrings
KINDS: dict[str, type[InstructionSource]] = {
    "instructions": InstructionFiles,
    "spam": SpamFiles,
    "docstrings": Docstrings,
}


def parse_source(content: Any, where: str) -> InstructionSource:
    """Builds the typed source that `content["kind"]` names.

    Raises:
        ValueError: an unknown kind, or a key that is unknown, missing or of another type.
    """
    kind = content.get("kind") if isinstance(content, Mapping) else content
    if kind not in KINDS:
        raise ValueError(f"{where}.kind: {kind!r} is not allowed; one of {sorted(KINDS)}")
    return from_mapping(KINDS[kind], content, where)


def read_source(source: InstructionSource) -> Iterator[Example | Drop]:
    """Examples and drops in the order of the files; equal examples after the first are drops (`duplicate`).

    Raises:
        ValueError: a pattern without a file, or a package that is not installed.
    """
    match source:
        case InstructionFiles():
            found = _examples(_from_records(matched_files(source.patterns)))
        case SpamFiles():
            paths = matched_files(source.patterns)
            found = _examples(pair for path in paths for pair in labelled_messages(path))
        case Docstrings():
            found = _from_packages(source)
    seen: set[bytes] = set()
    for item in found:
        if isinstance(item, Drop):
            yield item
        elif item.words in seen:
            yield Drop(item.source, "duplicate")
        else:
            seen.add(item.words)
            yield item
            if len(seen) == source.limit:
                return


def _examples(found: Iterable[tuple[str, Pair | Drop]]) -> Iterator[Example | Drop]:
    for where, pair in found:
        yield pair if isinstance(pair, Drop) else Example(*pair, where)


def _from_records(paths: Sequence[Path]) -> Iterator[tuple[str, Pair | Drop]]:
    for path in paths:
        for found in records_of(path, (*PROMPT_KEYS, *CONTEXT_KEYS, *ANSWER_KEYS)):
            yield (found.source, found) if isinstance(found, Drop) else (found[0], as_pair(*found))


def _from_packages(source: Docstrings) -> Iterator[Example | Drop]:
    packages = PackagesSource(kind="packages", names=source.names, min_chars=1, readme=False)
    for item in read_packages(packages, _MAX_BYTES, lambda _: None):
        if not isinstance(item, Document):
            yield item
            continue
        name = item.source.partition(":")[2]
        paragraph = " ".join(inspect.cleandoc(item.text).split("\n\n")[0].split())
        if len(paragraph) < source.min_chars:
            yield Drop(item.source, "short_paragraph", paragraph)
        else:
            yield Example(f"Describe `{name}`.", paragraph, item.source)


def is_held_out(example: Example, fraction: float) -> bool:
    """Whether the example is for validation: by its content alone, whatever else is in the sources."""
    return int.from_bytes(example.digest[:8], "big") < fraction * 2**64
