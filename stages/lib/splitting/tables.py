"""Tables of a text: their headers, and where their rows begin.

Found are tables of pipes (GitHub's and Org's), reStructuredText's grid and simple tables, the boxes that databases
print, and HTML's `<table>` with `<thead>` or `<th>`.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MOST_HEADER = 1 / 3  # of a chunk; a longer header is left off

_RULE = re.compile(  # possessive, so that no line takes more than linear time
    r"^[ \t]*+(?:>[ \t]*+)*+(?:"
    r"(?P<pipes>\|?+[ \t]*+:?+-++:?+[ \t]*+(?:[|+][ \t]*+:?+-++:?+[ \t]*+)*+\|?+)"
    r"|(?P<grid>\+(?:[-=]++\+)++)"
    r"|(?P<simple>=++(?:[ \t]++=++)++)"
    r")[ \t]*+$",
    re.MULTILINE,
)
_TABLE, _TABLE_END = re.compile(r"<table\b[^<>]{0,2000}>", re.IGNORECASE), re.compile(r"</table\s*>", re.IGNORECASE)
_HEAD_END = re.compile(r"</thead\s*>\s*", re.IGNORECASE)
_ROW_END = re.compile(r"</tr\s*>\s*", re.IGNORECASE)
_HEAD_CELL = re.compile(r"<th\b", re.IGNORECASE)
_QUOTE = re.compile(r"[ \t]*(?:>[ \t]*)*")


@dataclass(frozen=True)
class Table:
    """A table with a header: `text[start:body]`, its line ends included."""

    start: int
    body: int  # where the first row after the header begins
    end: int
    rows: list[int]  # where each row after the header begins, ascending


class Tables:
    """The tables of a text, as chunks of at most `chunk_chars` characters see them."""

    def __init__(self, text: str, chunk_chars: int) -> None:
        self._chunk_chars = chunk_chars
        self._tables = find_tables(text)
        self._starts = [table.start for table in self._tables]

    def at(self, position: int) -> Table | None:
        """The table with `position` strictly inside."""
        index = bisect_left(self._starts, position) - 1
        if index >= 0 and position < self._tables[index].end:
            return self._tables[index]
        return None

    def header(self, start: int) -> tuple[int, int] | None:
        """The header that a chunk that begins at `start` has to carry; None: it needs none, or it is too long."""
        table = self.at(start)
        if table is None or start < table.body or table.body - table.start > MOST_HEADER * self._chunk_chars:
            return None
        return table.start, table.body

    def room(self, start: int) -> int:
        """Characters that a chunk that begins at `start` has for its own span."""
        header = self.header(start)
        return self._chunk_chars - (header[1] - header[0] if header else 0)

    def cut(self, cut: int, start: int, low: int, high: int) -> int:
        """A chunk's end so that no row that fits is torn and no header stands without a row.

        Args:
            cut: where the text itself would best be cut.
            start: of the chunk.
            low, high: within which the end is looked for first.
        """
        table = self.at(cut)
        if table is None:
            return cut
        if table.start >= low and table.end - table.start <= self._chunk_chars:
            return table.start  # the whole table fits into the next chunk
        row = table.rows[bisect_right(table.rows, high) - 1] if high >= table.body else table.body
        after = bisect_right(table.rows, row)
        until = table.rows[after] if after < len(table.rows) else table.end
        place = row if row > table.body else table.start
        if place >= low or (place > start and until - row <= self.room(row)):
            return place
        return cut

    def restart(self, begin: int, low: int, high: int, following: int) -> int:
        """Where an overlap begins, in low..high: at a row, or `following` for no overlap."""
        table = self.at(begin)
        if table is None:
            return begin
        if begin < table.body:
            return table.start if table.start >= low else following
        index = bisect_left(table.rows, begin)
        near = [row for row in table.rows[max(0, index - 1) : index + 1] if low <= row <= high]
        return min(near, key=lambda row: abs(row - begin)) if near else following


def find_tables(text: str) -> list[Table]:
    """The tables of a text that have a header and at least one row, in order; none inside another."""
    found: list[Table] = []
    for table in sorted([*_ruled_tables(text), *_html_tables(text)], key=lambda table: table.start):
        if not found or table.start >= found[-1].end:
            found.append(table)
    return found


def _ruled_tables(text: str) -> Iterator[Table]:
    past = 0  # the end of the table before
    for rule in _RULE.finditer(text):
        if rule.start() < past:
            continue
        table: Table | None = None
        if rule["pipes"] is not None:
            table = _pipe_table(text, rule, past)
        else:
            grid = rule["grid"] is not None
            lines, past = _lines(text, rule.start(), _in_grid if grid else _visible)
            table = _bordered_table(text, rule, lines, past, double=grid)
        if table is not None:
            past = table.end
            yield table


def _pipe_table(text: str, rule: re.Match[str], past: int) -> Table | None:
    """Of a rule `|---|---|`: the line above is the header, the lines below with pipes are the rows."""
    if not re.search(r"[|+]", rule["pipes"]) or rule.start() == 0:
        return None
    start = text.rfind("\n", 0, rule.start() - 1) + 1
    head = text[start : rule.start() - 1]
    if start < past or _cells(head) != _cells(rule.group()):
        return None
    rows, end = _lines(text, rule.end() + 1, lambda line: "|" in line)
    return Table(start, rule.end() + 1, end, rows) if rows else None


def _cells(line: str) -> int:
    """Cells of a row of pipes; 0 of a line without any."""
    inner = _QUOTE.sub("", line, count=1).strip().replace("\\|", "")
    if "|" not in inner:
        return 0
    inner = inner.removeprefix("|").removesuffix("|")
    return 1 + inner.count("|") + (inner.count("+") if not inner.strip(" \t:|+-") else 0)


def _bordered_table(text: str, rule: re.Match[str], lines: list[int], end: int, double: bool) -> Table | None:
    """Of the first border: the lines up to the next border are the header, those up to the last are the rows."""
    borders = [place for place in lines if _is_border(text, place)]
    doubles = [place for place in borders if "=" in text[place : text.find("\n", place)]] if double else borders
    if double and doubles and doubles[0] > borders[0]:
        second = doubles[0]  # +===+
    elif double and len(borders) != 3:
        return None  # without a header, or with borders between the rows
    elif len(borders) >= 3:
        second = borders[1]
    else:
        return None
    body = text.find("\n", second) + 1
    if not double:
        end = text.find("\n", borders[2])
        end = len(text) if end < 0 else end + 1
    first = lines.index(second) + 1
    rows = [place for place in lines[first:] if place < end and not (not double and place == borders[2])]
    if double and len(borders) > 3:  # a row may be of several lines
        rows = [row for before, row in zip(lines[first - 1 :], rows, strict=False) if before in borders]
    return Table(rule.start(), body, end, rows) if rows and first > 2 else None


def _in_grid(line: str) -> bool:
    return line.lstrip(" \t>")[:1] in ("|", "+")


def _visible(line: str) -> bool:
    return bool(line.strip())


def _is_border(text: str, place: int) -> bool:
    match = _RULE.match(text, place)
    return match is not None and match["pipes"] is None


def _lines(text: str, start: int, belongs: Callable[[str], bool]) -> tuple[list[int], int]:
    """Where the lines from `start` on begin that belong to a table, and where the last ends with its line end."""
    lines: list[int] = []
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if not belongs(text[start:end]):
            break
        lines.append(start)
        start = end + 1
    return lines, min(start, len(text))


def _html_tables(text: str) -> Iterator[Table]:
    past = 0
    while opened := _TABLE.search(text, past):
        closed = _TABLE_END.search(text, opened.end())
        past = end = closed.end() if closed else len(text)
        head = _HEAD_END.search(text, opened.end(), end)
        if head is None:
            head = _ROW_END.search(text, opened.end(), end)
            if head is None or not _HEAD_CELL.search(text, opened.end(), head.end()):
                continue
        rows = [head.end(), *(match.end() for match in _ROW_END.finditer(text, head.end(), end))]
        rows = [row for row in rows if row == head.end() or text[row : row + 3].lower() == "<tr"]
        if head.end() < end:
            yield Table(opened.start(), head.end(), end, rows)
