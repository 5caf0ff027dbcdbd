"""Instruction sources -> examples in one template, prompt `sep` answer `eot`, and batches of them.

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

import numpy as np

from stages.lib.corpus.documents import BrokenInputError, Document, Drop, decode_utf8
from stages.lib.corpus.files import json_records, matched_files
from stages.lib.corpus.packages import PackagesSource, read_packages
from stages.lib.gpt.model import IGNORED
from stages.lib.gpt.tokenizers import Tokenizer
from stages.lib.params import from_mapping
from stages.lib.records import Record

LossOn = Literal["all", "output"]
_MAX_BYTES = 100_000_000  # of a JSON file or a line
_WIDTH = 64  # tokens; batches are padded to a multiple of it
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


Source = InstructionFiles | SpamFiles | Docstrings
KINDS: dict[str, type[Source]] = {"instructions": InstructionFiles, "spam": SpamFiles, "docstrings": Docstrings}


def parse_source(content: Any, where: str) -> Source:
    """Builds the typed source that `content["kind"]` names.

    Raises:
        ValueError: an unknown kind, or a key that is unknown, missing or of another type.
    """
    kind = content.get("kind") if isinstance(content, Mapping) else content
    if kind not in KINDS:
        raise ValueError(f"{where}.kind: {kind!r} is not allowed; one of {sorted(KINDS)}")
    return from_mapping(KINDS[kind], content, where)


def read_source(source: Source) -> Iterator[Example | Drop]:
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
    """An instruction record in the template's two parts.

    Drop reasons: `no_instruction`, `no_output` (absent, empty or no text), `input_is_no_text`, `invalid_unicode`.
    """
    instruction, context, output = record.get("instruction"), record.get("input") or "", record.get("output")
    if not isinstance(instruction, str) or not instruction.strip():
        return Drop(where, "no_instruction", f"found {instruction!r}")
    if not isinstance(output, str) or not output.strip():
        return Drop(where, "no_output", f"found {output!r}")
    if not isinstance(context, str):
        return Drop(where, "input_is_no_text", f"found {type(context).__name__}")
    prompt = "\n\n".join(part.strip() for part in (instruction, context) if part.strip())
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


def tokenize(example: Example, tokenizer: Tokenizer, loss_on: LossOn) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of prompt `sep` answer `eot`, int64 (T,) each; `loss_on: output` ignores the prompt's."""
    prompt, answer = tokenizer.encode(example.prompt), tokenizer.encode(example.answer)
    ids = np.concatenate((prompt, [tokenizer.sep], answer, [tokenizer.eot])).astype(np.int64)
    targets = ids[1:].copy()
    if loss_on == "output":
        targets[: len(prompt)] = IGNORED  # up to and with `sep`, which the prompt's last token predicts
    return ids[:-1], targets


class InstructionBatches:
    """Endless padded batches of examples, each epoch in an order of its own: `training.Batches`."""

    def __init__(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        context: int,
        loss_on: LossOn,
        *,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        """Tokenizes the examples; those over `context` tokens are left out, into `dropped`.

        Raises:
            ValueError: nothing is left.
        """
        self.pad, self.context, self.seed, self.shuffle = tokenizer.pad, context, seed, shuffle
        self.rows: list[tuple[np.ndarray, np.ndarray]] = []
        self.dropped: list[Drop] = []
        for example in examples:
            row = tokenize(example, tokenizer, loss_on)
            if len(row[0]) > context:
                self.dropped.append(Drop(example.source, "longer_than_context", f"{len(row[0])} tokens"))
            else:
                self.rows.append(row)
        if not self.rows:
            raise ValueError(
                f"no example is left of {len(examples)}: {len(self.dropped)} are longer than the context of "
                f"{context} tokens; give more examples, or a model with a longer context"
            )
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))  # of the epoch last asked for

    @property
    def per_epoch(self) -> int:
        """Examples an epoch."""
        return len(self.rows)

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of examples first..first+count-1 of the endless sequence, int64 (count, T).

        A function of (seed, first, count) alone: Philox keyed by seed and epoch draws each epoch's order. T is the
        longest row's length rounded up to a multiple of 64, so that torch.compile meets few shapes.
        """
        places = [divmod(number, len(self.rows)) for number in range(first, first + count)]
        rows = [self.rows[self._epoch_order(epoch)[place]] for epoch, place in places]
        width = min(self.context, -(-max(len(ids) for ids, _ in rows) // _WIDTH) * _WIDTH)
        inputs = np.full((count, width), self.pad, dtype=np.int64)
        targets = np.full((count, width), IGNORED, dtype=np.int64)
        for i, (ids, wanted) in enumerate(rows):
            inputs[i, : len(ids)], targets[i, : len(ids)] = ids, wanted
        return inputs, targets

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if self._order[0] != epoch:
            rng = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, epoch]))
            order = rng.permutation(len(self.rows)) if self.shuffle else np.arange(len(self.rows))
            self._order = (epoch, order)
        return self._order[1]
