"""Documents from files: text and markdown whole, JSONL and JSON record by record, PDF by PyMuPDF."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.lib.core.records import Record
from stages.lib.corpus.markup import MARKDOWN_SUFFIXES, as_shown
from stages.lib.corpus.pdf import pdf_text
from stages.lib.reading.documents import (
    Advance,
    BrokenInputError,
    DocumentOrDrop,
    DocumentStream,
    Drop,
    as_document,
    decode_utf8,
)
from stages.lib.reading.json_records import json_records, unreadable
from stages.lib.reading.patterns import matched_files

TEXT_SUFFIXES = (".txt", *MARKDOWN_SUFFIXES, ".rst")
RECORD_SUFFIXES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, kw_only=True)
class FilesSource:
    """`kind: files`: the files that glob patterns match."""

    kind: Literal["files"]
    patterns: list[str]  # relative to the project; ** goes through directories
    text_key: str = "text"  # of JSONL and JSON records
    source_key: str = "source"  # likewise; a record without it is named by its place, `file:line`
    limit: int = 0  # documents at most; 0: all

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ValueError(f"limit: {self.limit} is negative")
        if not self.patterns:
            raise ValueError("patterns: no pattern is given")


def read_files(source: FilesSource, max_chars: int, advance: Advance) -> DocumentStream:
    """Yields the documents of the matched files, in the order of the sorted paths.

    Raises:
        ValueError: at the call, when a pattern matches no file.
    """
    return _read(source, matched_files(source.patterns), max_chars, advance)


def files_size(source: FilesSource) -> int:
    """Bytes to be read."""
    return sum(path.stat().st_size for path in matched_files(source.patterns))


def _read(source: FilesSource, paths: list[Path], max_chars: int, advance: Advance) -> DocumentStream:
    for path in paths:
        suffix = path.suffix.lower()
        if suffix in RECORD_SUFFIXES:
            # JSON spells a character in up to 12 bytes (\ud83d\ude00); the rest of the record gets a megabyte.
            for found in json_records(path, 12 * max_chars + 1_000_000, advance):
                yield found if isinstance(found, Drop) else _record_item(source, *found, max_chars, str(path))
        else:
            try:
                advance(path.stat().st_size)
                yield from _whole_file(path, max_chars)
            except OSError as error:
                yield unreadable(path, error)


def _whole_file(path: Path, max_chars: int) -> list[DocumentOrDrop]:
    """The document, or why there is none; and of a PDF a drop for each page that cannot be read."""
    broken: list[DocumentOrDrop] = []
    item = _document_of(
        path, max_chars, lambda page: broken.append(Drop(f"{path} {page.detail}", page.reason, "the others are read"))
    )
    return [item, *broken]


def _document_of(path: Path, max_chars: int, on_broken: Callable[[BrokenInputError], object]) -> DocumentOrDrop:
    suffix = path.suffix.lower()
    try:
        if suffix == ".pdf":
            text = pdf_text(path, max_chars, on_broken)
        elif suffix not in TEXT_SUFFIXES:
            known = " ".join((*TEXT_SUFFIXES, *RECORD_SUFFIXES, ".pdf"))
            return Drop(str(path), "unknown_file_type", f"{suffix or 'no suffix'}; read are {known}")
        elif (size := path.stat().st_size) > 4 * max_chars + 3:  # UTF-8 takes at most 4 bytes a character
            return Drop(str(path), "too_long", f"{size} bytes, max_document_chars is {max_chars}")
        else:
            text = decode_utf8(path.read_bytes())
            if suffix in MARKDOWN_SUFFIXES:
                text = as_shown(text.replace("\r\n", "\n").replace("\r", "\n"), suffix)
    except BrokenInputError as error:
        return Drop(str(path), error.reason, error.detail)
    return as_document(str(path), text, str(path), max_chars, str(path))


def _record_item(source: FilesSource, where: str, record: Record, max_chars: int, origin: str) -> DocumentOrDrop:
    name = record.get(source.source_key)
    document = name if isinstance(name, str) and name else where
    return as_document(document, record.get(source.text_key), where, max_chars, origin)
