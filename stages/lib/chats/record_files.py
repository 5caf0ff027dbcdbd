"""Records of JSON and JSONL files: what lib/corpus reads, and JSON files that hold one object of records."""

from collections.abc import Iterator
from pathlib import Path

from stages.lib.core.records import Record
from stages.lib.reading.documents import Drop
from stages.lib.reading.json_records import json_records, named_records, whole_json
from stages.lib.reading.patterns import matched_files

MAX_BYTES = 500_000_000  # of a JSON file or a line


def read_records(patterns: list[str]) -> Iterator[tuple[str, Record] | Drop]:
    """Yields (`file:line` or `file[key]`, record) of the matched files in sorted order; what is unreadable as a drop.

    Raises:
        ValueError: a pattern matches no file, or a .json file holds neither a list nor an object of records.
    """
    for path in matched_files(patterns) if patterns else []:
        if path.suffix.lower() == ".json" and _begins_object(path):
            content = whole_json(path, MAX_BYTES)
            yield from [content] if isinstance(content, Drop) else named_records(path, content.items())
        else:
            yield from json_records(path, MAX_BYTES)


def _begins_object(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1000).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
