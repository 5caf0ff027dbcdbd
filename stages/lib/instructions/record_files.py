"""Files of instruction records -> records with their places: JSON, JSONL, CSV, TSV, Parquet and Arrow.

What a file is called and what it holds often differ: a .json file of JSON lines, a list under `data`, are read.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.lib.core.records import Record
from stages.lib.instructions.delimited import DELIMITERS, cells_of, rows, table_lines
from stages.lib.instructions.records import are_turns
from stages.lib.reading.documents import Drop
from stages.lib.reading.json_records import json_lines, named_records, not_a_list, unreadable, whole_json

MAX_BYTES = 100_000_000  # of a JSON file or a line


def records_of(path: Path, names: Sequence[str]) -> Iterator[tuple[str, Record] | Drop]:
    """Yields (place, record) of each record of a file; what is none becomes a drop.

    Drop reasons: those of `json_records`, `no_cells` (a row of a table with fewer or more cells than its header has),
    `broken_file` (Parquet or Arrow that cannot be read).

    Args:
        path: the file; .csv and .tsv are tables, .parquet and .arrow what they say, all others JSON or JSONL.
        names: of columns that may be in a table's header, by which its delimiter is found.
    """
    try:
        match path.suffix.lower():
            case ".csv" | ".tsv" | ".tab":
                yield from _from_table(path, names)
            case ".parquet" | ".arrow":
                yield from _from_arrow(path)
            case _:
                yield from _from_json(path)
    except OSError as error:
        yield unreadable(path, error)


def split_header(lines: Sequence[str | Drop], names: Sequence[str]) -> tuple[str, list[str]]:
    """The delimiter of a table and its header's cells in small letters, as its first line shows them.

    The delimiter is the one by which most of `names` are cells; then the one that gives most cells.
    """
    first = next((line for line in lines if isinstance(line, str) and line.strip()), "")
    found = {mark: [cell.strip().casefold() for cell in cells_of(first, mark)] for mark in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda mark: (len(set(found[mark]) & set(names)), len(found[mark])))
    return delimiter, trimmed(found[delimiter])


def trimmed(cells: list[str]) -> list[str]:
    """Without the empty cells at the end, which spreadsheets leave."""
    end = len(cells)
    while end and not cells[end - 1].strip():
        end -= 1
    return cells[:end]


def _from_table(path: Path, names: Sequence[str]) -> Iterator[tuple[str, Record] | Drop]:
    lines = table_lines(path)
    delimiter, header = split_header(lines, names)
    found = rows(lines, delimiter)
    for item in found:
        if not isinstance(item, Drop):
            break  # the header
        yield item
    for item in found:
        if isinstance(item, Drop):
            yield item
            continue
        number, cells = item
        if len(cells) < len(header) or len(trimmed(cells)) > len(header):
            yield Drop(f"{path}:{number}", "no_cells", f"{len(cells)} cells; the header has {len(header)}")
        else:
            yield f"{path}:{number}", dict(zip(header, cells, strict=False))


def _from_arrow(path: Path) -> Iterator[tuple[str, Record] | Drop]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix.lower() == ".parquet":
            batches: Iterator[Any] = pq.ParquetFile(path).iter_batches()
        else:
            batches = iter(pa.ipc.open_stream(path))  # as datasets saves them
        number = 0
        for batch in batches:
            for record in batch.to_pylist():
                yield f"{path}[{number}]", record
                number += 1
    except pa.ArrowInvalid as error:
        yield Drop(str(path), "broken_file", " ".join(str(error).split()))


def _from_json(path: Path) -> Iterator[tuple[str, Record] | Drop]:
    with path.open("rb") as file:
        begins_list = file.read(1_000).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
    if path.suffix.lower() != ".json" and not begins_list:
        yield from json_lines(path, MAX_BYTES)
        return
    content = whole_json(path, MAX_BYTES)
    match content:
        case Drop() if content.reason == "broken_json" and content.detail.startswith("Extra data"):  # lines
            yield from json_lines(path, MAX_BYTES)
        case Drop():
            yield content
        case list():
            yield from named_records(path, enumerate(content))
        case dict():
            yield from _from_object(path, content)
        case _:
            yield not_a_list(path, content)


def _from_object(path: Path, content: Record) -> Iterator[tuple[str, Record] | Drop]:
    """The records of the one list in an object (`{"version": 1, "data": [...]}`); without lists it is a record."""
    lists = [key for key, value in content.items() if isinstance(value, list) and _of_records(value)]
    if len(lists) == 1 and not are_turns(content[lists[0]]):
        yield from named_records(Path(f"{path}[{lists[0]}]"), enumerate(content[lists[0]]))
    elif len(lists) > 1:
        yield not_a_list(path, content)
    else:
        yield f"{path}[0]", content


def _of_records(value: list[Any]) -> bool:
    return any(isinstance(item, dict) for item in value)
