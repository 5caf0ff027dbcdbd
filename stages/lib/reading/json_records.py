"""Records of JSONL and JSON files, with each one's place; what is no record becomes a drop."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from stages.lib.core.records import Record
from stages.lib.reading.documents import Advance, BrokenInputError, Drop, decode_utf8

_EXCERPT = 200  # characters of a broken line that its drop quotes


def json_records(path: Path, max_bytes: int, advance: Advance = lambda _: None) -> Iterator[tuple[str, Record] | Drop]:
    """Yields (`file:line`, record) of a JSONL file, or (`file[index]`, record) of a JSON file that holds one list.

    What is no JSON object becomes a drop: `invalid_utf8`, `broken_json`, `not_an_object`, `too_long` (a line, or a
    JSON file, of over `max_bytes`), `not_a_list` (what a JSON file holds), `unreadable_file` (what the system says).
    Blank lines are nothing. A JSONL file is never held in memory as a whole.
    """
    try:
        yield from _records(path, max_bytes, advance)
    except OSError as error:
        yield unreadable(path, error)


def unreadable(path: Path, error: OSError) -> Drop:
    """The drop of a file that the system does not read: no permission, gone, a broken disk."""
    return Drop(str(path), "unreadable_file", error.strerror or type(error).__name__)


def _records(path: Path, max_bytes: int, advance: Advance) -> Iterator[tuple[str, Record] | Drop]:
    if path.suffix.lower() == ".json":
        yield from _listed_records(path, max_bytes, advance)
    else:
        yield from json_lines(path, max_bytes, advance)


def json_lines(path: Path, max_bytes: int, advance: Advance = lambda _: None) -> Iterator[tuple[str, Record] | Drop]:
    """`json_records` of a JSONL file, whatever its name ends in.

    Raises:
        OSError: the system does not read the file.
    """
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
        yield not_a_list(path, content)
        return
    yield from named_records(path, enumerate(content))


def not_a_list(path: Path, content: Any) -> Drop:
    """The drop of a JSON file without one list of records: what was found, and what to do with it."""
    return Drop(str(path), "not_a_list", _instead_of_a_list(content))


def _instead_of_a_list(content: Any) -> str:
    if not isinstance(content, dict):
        return f"expected a list of records, found {type(content).__name__}"
    lists = [repr(key) for key, value in content.items() if isinstance(value, list)]
    found = f"expected a list of records, found an object with {', '.join(map(repr, list(content)[:5])) or 'no key'}"
    if lists:
        return f"{found}; give the list of {' or '.join(lists[:3])} a file of its own, as .json or one a line as .jsonl"
    return f"{found}; a single record goes into a .jsonl file, in one line"


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
