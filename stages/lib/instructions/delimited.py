"""Tables of text as people save them (CSV, TSV) -> lines and rows, by the encoding and the quotes that they show.

Quotes are those of RFC 4180, as the csv module reads them. A quote that nothing closes is a letter of its line, so
that it does not swallow the lines behind it.
"""

import codecs
import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stages.lib.reading.documents import BrokenInputError, Drop, decode_utf8

DELIMITERS = ("\t", ",", ";")
_MOST_LINES = 2_000  # of one row: an unclosed quote is looked for no further
# Windows-1252 as browsers read it: the five bytes that it leaves free are control characters.
_WINDOWS = {byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(256)}
csv.field_size_limit(100_000_000)  # characters; the default of 131,072 ends the reading of a whole file


def table_lines(path: Path) -> list[str | Drop]:
    """The lines of a file without their ends, cut at line feeds alone: texts may hold what str.splitlines cuts at.

    Files are UTF-8, or UTF-16 with its mark. One of whose lines beyond ASCII more break UTF-8 than keep it is
    Windows-1252, as Kaggle's spam.csv; elsewhere a line may be. One that breaks UTF-8 and yet has characters of it is
    a drop (`invalid_utf8`).

    Raises:
        OSError: the system does not read the file.
    """
    raw = path.read_bytes()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        whole = _decoded(str(path), raw)
        return [whole] if isinstance(whole, Drop) else [line.removesuffix("\r") for line in whole.split("\n")]
    pieces = [line.removesuffix(b"\r") for line in raw.split(b"\n")]
    kept = sum(_keeps_utf8(line) for line in pieces if not line.isascii())
    broken = sum(not line.isascii() for line in pieces) - kept
    if broken > kept:
        return list(map(_from_windows, pieces))
    return [_decoded(f"{path}:{number}", line) for number, line in enumerate(pieces, start=1)]


def _keeps_utf8(line: bytes) -> bool:
    return line.decode("utf-8", "ignore").encode() == line


def _from_windows(line: bytes) -> str:
    return line.decode("latin-1").translate(_WINDOWS)


def _decoded(where: str, line: bytes) -> str | Drop:
    try:
        return decode_utf8(line)
    except BrokenInputError as error:
        if line.decode("utf-8", "ignore").isascii():
            return _from_windows(line)
        return Drop(where, error.reason, error.detail)


def cells_of(text: str, delimiter: str) -> list[str]:
    """The cells of one row, which may have several lines; quotes count where they are closed, and never with tabs.

    The SMS collection's lines have a tab and no quotes: `ham<tab>"quoted` is a message that begins with one. A cell
    counts as quoted there only if it shows it: all of it in quotes, with doubled ones and no others inside.
    """
    if delimiter == "\t":
        return [_unquoted(cell) for cell in text.split("\t")]
    lines = [f"{line}\n" for line in text.replace("\r", " ").split("\n")]  # a lone \r would end a row
    if text.count('"') % 2:
        return next(csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE), [])
    return next(csv.reader(lines, delimiter=delimiter), [])


def rows(
    lines: Sequence[str | Drop], delimiter: str, begins: Callable[[list[str]], bool] = lambda _: False
) -> Iterator[tuple[int, list[str]] | Drop]:
    """Yields (line, cells) of each row that is not blank, and the drops among the lines.

    Args:
        lines: of `table_lines`.
        delimiter: between cells.
        begins: whether a line's cells are the beginning of a row, where that can be told: a quote before it is closed
            by nothing.
    """
    number = 0
    while number < len(lines):
        line = lines[number]
        if isinstance(line, Drop):
            yield line
        elif line.strip():
            end = number + 1 if delimiter == "\t" else _end(lines, number, delimiter, begins)
            yield number + 1, cells_of("\n".join(map(str, lines[number:end])), delimiter)
            number = end
            continue
        number += 1


def _end(lines: Sequence[str | Drop], start: int, delimiter: str, begins: Callable[[list[str]], bool]) -> int:
    """The first line behind a row: where its quotes are even; the next line where they never are."""
    quotes = 0
    for end in range(start, min(len(lines), start + _MOST_LINES)):
        line = lines[end]
        if isinstance(line, Drop) or (end > start and begins(cells_of(line, delimiter))):
            break
        quotes += line.count('"')
        if quotes % 2 == 0:
            return end + 1
    return start + 1


def _unquoted(cell: str) -> str:
    inside = cell[1:-1]
    if len(cell) > 3 and cell[0] == cell[-1] == '"' and '""' in inside and '"' not in inside.replace('""', ""):
        return inside.replace('""', '"')
    return cell
