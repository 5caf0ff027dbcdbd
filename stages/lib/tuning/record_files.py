"""Records of JSON and JSONL files: what lib/corpus reads, and JSON files that hold one object of records."""

import json
from collections.abc import Iterator
from pathlib import Path

from stages.lib.corpus.documents import BrokenInputError, Drop, decode_utf8
from stages.lib.corpus.files import json_records, matched_files
from stages.lib.records import Record

MAX_BYTES = 500_000_000  # of a JSON file or a line


def read_records(patterns: list[str]) -> Iterator[tuple[str, Record] | Drop]:
    """Yields (`file:line` or `file[key]`, record) of the matched files in sorted order; what is unreadable as a drop.

    Raises:
        ValueError: a pattern matches no file, or a .json file holds neither a list nor an object of records.
    """
    for path in matched_files(patterns) if patterns else []:
        if path.suffix.lower() == ".json" and _begins_object(path):
            yield from _keyed_records(path)
        else:
            yield from json_records(path, MAX_BYTES)


def _begins_object(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1000).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def _keyed_records(path: Path) -> Iterator[tuple[str, Record] | Drop]:
    size = path.stat().st_size
    if size > MAX_BYTES:
        yield Drop(str(path), "too_long", f"{size} bytes in one JSON file; JSONL has no such limit")
        return
    try:
        content = json.loads(decode_utf8(path.read_bytes()))
    except BrokenInputError as error:
        yield Drop(str(path), error.reason, error.detail)
        return
    except (ValueError, RecursionError) as error:
        yield Drop(str(path), "broken_json", str(error))
        return
    for key, record in content.items():
        if isinstance(record, dict):
            yield f"{path}[{key}]", record
        else:
            yield Drop(f"{path}[{key}]", "not_an_object", f"expected a JSON object, found {type(record).__name__}")
