"""Instruction sources -> examples, a prompt and its answer each.

A source is a mapping of params.yaml: `kind: instructions` (JSON or JSONL of instruction, input, output), `kind: spam`
(lines of label, tab, message), `kind: docstrings` (what installed packages say of their own classes and functions).
"""

import hashlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from stages.lib.core.params import from_mapping
from stages.lib.core.records import Record
from stages.lib.reading.chats import as_chat, holds_turns
from stages.lib.reading.documents import BrokenInputError, Document, Drop, decode_utf8
from stages.lib.reading.json_records import json_records
from stages.lib.reading.packages import PackagesSource, read_packages
from stages.lib.reading.patterns import matched_files
from stages.lib.tokens.instruction_template import prompt_text

_MAX_BYTES = 100_000_000  # of a JSON file or a line
_SPAM_LABELS = ("ham", "spam")
SPAM_INSTRUCTION = "Is this message spam or ham?"


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


@dataclass(frozen=True, kw_only=True)
class InstructionFiles:
    """`kind: instructions`: records of `instruction`, `input` (may be empty or absent) and `output`."""

    kind: Literal["instructions"]
    patterns: list[str]  # globs of .json (one list) and .jsonl files
    limit: int = 0  # examples at most; 0: all


@dataclass(frozen=True, kw_only=True)
class SpamFiles:
    """`kind: spam`: the SMS spam collection's lines, `ham` or `spam`, a tab, the message."""

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
            found = _from_json(matched_files(source.patterns))
        case SpamFiles():
            found = _from_spam(matched_files(source.patterns))
        case Docstrings():
            found = _from_packages(source)
    seen: set[bytes] = set()
    for item in found:
        if isinstance(item, Drop):
            yield item
        elif item.digest in seen:
            yield Drop(item.source, "duplicate")
        else:
            seen.add(item.digest)
            yield item
            if len(seen) == source.limit:
                return


def as_example(where: str, record: Record) -> Example | Drop:
    """An instruction record in the template's two parts; a chat of one question and answer is one (reading/chats.py).

    Drop reasons: those of `as_chat`, `several_turns` (the template has room for one question), `no_instruction`,
    `no_output` (absent, empty or no text), `input_is_no_text`, `invalid_unicode`.
    """
    if holds_turns(record) and "instruction" not in record:
        chat = as_chat(where, record)
        if isinstance(chat, Drop):
            return chat
        turns = [message for message in chat["messages"] if message["role"] != "system"]
        if [message["role"] for message in turns] != ["user", "assistant"]:
            return Drop(where, "several_turns", " ".join(message["role"] for message in turns))
        asked = [message["content"] for message in chat["messages"][:-1]]
        record = {"instruction": "\n\n".join(asked), "output": turns[-1]["content"]}
    instruction, context, output = record.get("instruction"), record.get("input") or "", record.get("output")
    if not isinstance(instruction, str) or not instruction.strip():
        return Drop(where, "no_instruction", f"found {instruction!r}")
    if not isinstance(output, str) or not output.strip():
        return Drop(where, "no_output", f"found {output!r}")
    if not isinstance(context, str):
        return Drop(where, "input_is_no_text", f"found {type(context).__name__}")
    prompt = prompt_text(instruction, context)
    try:
        (prompt + output).encode()
    except UnicodeEncodeError as error:
        return Drop(where, "invalid_unicode", str(error))
    return Example(prompt, output.strip(), where)


def _from_json(paths: Sequence[Path]) -> Iterator[Example | Drop]:
    for path in paths:
        for found in json_records(path, _MAX_BYTES):
            yield found if isinstance(found, Drop) else as_example(*found)


def _from_spam(paths: Sequence[Path]) -> Iterator[Example | Drop]:
    for path in paths:
        # Bytes, since messages may hold line separators that str.splitlines would cut at.
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            where = f"{path}:{number}"
            if not line.strip():
                continue
            try:
                label, tab, message = decode_utf8(line).strip("\r").partition("\t")
            except BrokenInputError as error:
                yield Drop(where, error.reason, error.detail)
                continue
            if not tab or label not in _SPAM_LABELS:
                yield Drop(where, "no_label", f"expected ham or spam and a tab, found {line[:20]!r}")
            else:
                yield as_example(where, {"instruction": SPAM_INSTRUCTION, "input": message, "output": label})


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
