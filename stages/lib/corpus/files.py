"""Documents from files: text and markdown whole, JSONL and JSON record by record, PDF by PyMuPDF."""

import glob
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.lib.corpus.documents import Advance, BrokenInputError, Drop, Item, Items, as_item, decode_utf8
from stages.lib.corpus.pdf import pdf_text
from stages.lib.records import Record

TEXT_SUFFIXES = (".txt", ".md", ".mdx", ".markdown", ".rst")
RECORD_SUFFIXES = (".jsonl", ".ndjson", ".json")
_EXCERPT = 200  # characters of a broken line that its drop quotes


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


def read_files(source: FilesSource, max_chars: int, advance: Advance) -> Items:
    """Yields the documents of the matched files, in the order of the sorted paths.

    Raises:
        ValueError: at the call, when a pattern matches no file.
    """
    return _read(source, matched_files(source.patterns), max_chars, advance)


def files_size(source: FilesSource) -> int:
    """Bytes to be read."""
    return sum(path.stat().st_size for path in matched_files(source.patterns))


def matched_files(patterns: list[str]) -> list[Path]:
    """The files that the patterns match, each once, sorted by path.

    Raises:
        ValueError: a pattern matches no file.
    """
    found: set[str] = set()
    for i, pattern in enumerate(patterns):
        # Path.glob takes no absolute patterns.
        matches = [match for match in glob.glob(pattern, recursive=True) if Path(match).is_file()]  # noqa: PTH207
        if not matches:
            raise ValueError(f"patterns[{i}]: {pattern!r} matches no file")
        found.update(matches)
    return [Path(match) for match in sorted(found)]


def json_records(path: Path, max_bytes: int, advance: Advance = lambda _: None) -> Iterator[tuple[str, Record] | Drop]:
    """Yields (`file:line`, record) of a JSONL file, or (`file[index]`, record) of a JSON file that holds one list.

    What is no JSON object becomes a drop: `invalid_utf8`, `broken_json`, `not_an_object`, `too_long` (a line, or a
    JSON file, of over `max_bytes`). Blank lines are nothing. A JSONL file is never held in memory as a whole.

    Raises:
        ValueError: a .json file holds no list.
    """
    if path.suffix.lower() == ".json":
        yield from _listed_records(path, max_bytes, advance)
        return
    with path.open("rb") as file:
        number = 0
        while line := file.readline(max_bytes + 1):
            number += 1
            where = f"{path}:{number}"
            advance(len(line))
            if len(line) > max_bytes:
                while not line.endswith(b"\n") and (line := file.readline(1 << 20)):
                    advance(len(line))
                yield Drop(where, "too_long", f"a line of over {max_bytes} bytes")
            elif line.strip():
                record = _parsed(where, line)
                yield record if isinstance(record, Drop) else (where, record)


def _read(source: FilesSource, paths: list[Path], max_chars: int, advance: Advance) -> Items:
    for path in paths:
        suffix = path.suffix.lower()
        if suffix in RECORD_SUFFIXES:
            # JSON spells a character in up to 12 bytes (\ud83d\ude00); the rest of the record gets a megabyte.
            for found in json_records(path, 12 * max_chars + 1_000_000, advance):
                yield found if isinstance(found, Drop) else _record_item(source, *found, max_chars)
        else:
            item = _whole_file(path, max_chars)
            advance(path.stat().st_size)
            yield item


def _whole_file(path: Path, max_chars: int) -> Item:
    suffix = path.suffix.lower()
    try:
        if suffix == ".pdf":
            text = pdf_text(path, max_chars)
        elif suffix not in TEXT_SUFFIXES:
            known = " ".join((*TEXT_SUFFIXES, *RECORD_SUFFIXES, ".pdf"))
            return Drop(str(path), "unknown_file_type", f"{suffix or 'no suffix'}; read are {known}")
        elif (size := path.stat().st_size) > 4 * max_chars + 3:  # UTF-8 takes at most 4 bytes a character
            return Drop(str(path), "too_long", f"{size} bytes, max_document_chars is {max_chars}")
        else:
            text = decode_utf8(path.read_bytes())
    except BrokenInputError as error:
        return Drop(str(path), error.reason, error.detail)
    return as_item(str(path), text, str(path), max_chars)


def _record_item(source: FilesSource, where: str, record: Record, max_chars: int) -> Item:
    name = record.get(source.source_key)
    return as_item(name if isinstance(name, str) and name else where, record.get(source.text_key), where, max_chars)


def _parsed(where: str, line: bytes) -> Record | Drop:
    try:
        record = json.loads(decode_utf8(line))
    except BrokenInputError as error:
        return Drop(where, error.reason, f"{error.detail}: {line[:_EXCERPT].decode(errors='backslashreplace')}")
    except (ValueError, RecursionError) as error:
        return Drop(where, "broken_json", f"{error}: {line[:_EXCERPT].decode(errors='backslashreplace')}")
    if not isinstance(record, dict):
        return Drop(where, "not_an_object", f"expected a JSON object, found {type(record).__name__}")
    return record


def _listed_records(path: Path, max_bytes: int, advance: Advance) -> Iterator[tuple[str, Record] | Drop]:
    advance(path.stat().st_size)
    content = whole_json(path, max_bytes)
    if isinstance(content, Drop):
        yield content
        return
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a list of records, found {type(content).__name__}")
    yield from named_records(path, enumerate(content))


def whole_json(path: Path, max_bytes: int) -> Any | Drop:
    """What a JSON file holds; a drop where it is of over `max_bytes`, not UTF-8 or not JSON."""
    size = path.stat().st_size
    if size > max_bytes:
        return Drop(str(path), "too_long", f"{size} bytes in one JSON file; JSONL has no such limit")
    try:
        return json.loads(decode_utf8(path.read_bytes()))
    except BrokenInputError as error:
        return Drop(str(path), error.reason, error.detail)
    except (ValueError, RecursionError) as error:
        return Drop(str(path), "broken_json", str(error))


def named_records(path: Path, members: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Record] | Drop]:
    """Yields (`file[key]`, record) of a JSON file's (key, member) pairs; a member that is no object as a drop."""
    for key, record in members:
        if isinstance(record, dict):
            yield f"{path}[{key}]", record
        else:
            yield Drop(f"{path}[{key}]", "not_an_object", f"expected a JSON object, found {type(record).__name__}")
