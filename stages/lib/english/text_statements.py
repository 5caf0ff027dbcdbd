"""A text cut into statements, each with what is said around it: its entry or list item, its table's header, headings.

A statement is a sentence, a row of a table, or a line of settings (`r: 8`). Any language: sentences end where English
ones do, and at the full stops of Chinese, Japanese, Hindi, Urdu, Burmese and Armenian. What a statement belongs to is
read off the layout: a line further in belongs to the entry, item or label above it.
"""

import re
from dataclasses import dataclass

from stages.lib.english.facts import sentences

_HEADING = re.compile(r"^(#{1,6})\s+(.*)$")
_UNDERLINE = re.compile(r"^\s*([=\-~^\"'*+])\1{2,}\s*$")
_RULE = re.compile(r"^\s*\|?[\s:|+=\-]*[-=]{2,}[\s:|+=\-]*$")  # between a table's header and its rows, or of a grid
_ROW = re.compile(r"^\s*\||\S\s*\|[^|]*\|\s*\S|\S\t+\S|[^\s.]\s{3,}\S")
_BULLET = r"(?:[-*+•・]|\d{1,3}[.)、])\s+"
# `name (type, ...): text`, `- **name**: text`, `"name": 8`, `name = 8`; a name has no blanks
_NAMED = (
    rf"(?:{_BULLET})?[`*\"']*(?P<name>[^\W\d][\w.\-]*)[`*\"']*\s*(?:[(（][^\n]*[)）]\s*)?"
    r"(?::(?!:)|：|--|—|–|=(?!=))(?:\s|$)"
)
_ITEM = re.compile(rf"^\s*(?:{_NAMED}|{_BULLET})")
_END = re.compile(r"[。！？｡।۔။։]+[」』”’）)\]]*")


@dataclass(frozen=True)
class Statement:
    """A piece of a text that says one thing."""

    start: int  # characters into the text
    end: int
    name: str  # of the entry or row that it is or belongs to: a parameter, a row's first cell; "" if it has none
    heads: tuple[str, ...]  # first lines of the entries and items that it belongs to, the nearest first
    headings: tuple[str, ...]  # above it, the highest level first
    cells: tuple[tuple[int, int, str], ...] = ()  # of a table's row: (start, end, header of the column)


@dataclass
class _Open:
    """Lines that read on: a paragraph, an item or an entry."""

    start: int
    end: int
    indent: int
    name: str
    head: str  # its first line; "" of a paragraph
    heads: tuple[str, ...]  # of what it belongs to
    headings: tuple[str, ...]


def statements(text: str) -> list[Statement]:
    """The statements of a text, in reading order; headings and rules are none."""
    return _Reader(text).read()


def split_sentences(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The (start, end) of the sentences of text[start:end], in any language, without surrounding white space."""
    spans: list[tuple[int, int]] = []
    for first, last in sentences(text, start, end):
        ends = [match.end() for match in _END.finditer(text, first, last)]
        spans += zip([first, *ends], [*ends, last], strict=True)
    found = []
    for first, last in spans:
        bare = text[first:last].strip()
        if bare:
            begin = text.index(bare, first)
            found.append((begin, begin + len(bare)))
    return found


class _Reader:
    """Reads a text line by line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.made: list[Statement] = []
        self.open: _Open | None = None
        self.enclosing: list[tuple[int, str, str]] = []  # (indent, name, first line) of entries, items and labels
        self.headings: list[tuple[int, str]] = []  # (level, words)
        self.header: list[str] = []  # of the table that is being read

    def read(self) -> list[Statement]:
        """The statements."""
        lines = [(match.start(), match[0]) for match in re.finditer(r"[^\n]+|(?<=\n)(?=\n)", self.text)]
        for (start, line), (_, following) in zip(lines, [*lines[1:], (0, "")], strict=False):
            self._line(start, line, following)
        self._close()
        return self.made

    def _line(self, start: int, line: str, following: str) -> None:
        indent = len(line) - len(line.lstrip())
        if not line.strip() or _RULE.match(line):
            self._close()
            self.header = self.header if line.strip() else []
            return
        while self.enclosing and self.enclosing[-1][0] >= indent:
            self.enclosing.pop()
        if heading := _heading(line, following, first=self.open is None):
            self._close()
            self.headings = [*(above for above in self.headings if above[0] < heading[0]), heading]
            self.enclosing = []
            return
        item = _ITEM.match(line)
        if _ROW.search(line) and (item is None or "|" in line):
            self._close()
            self._row(start, line, following)
            return
        self.header = []
        if item:
            self._close()
            name = (item["name"] or "").strip("`*")
            self.open = _Open(start + indent, start + len(line), indent, name, line.strip(), *self._around())
            self.enclosing.append((indent, name, line.strip()))
        elif self.open is None or (self.open.head and indent <= self.open.indent):
            self._close()
            name = self.enclosing[-1][1] if self.enclosing else ""
            self.open = _Open(start + indent, start + len(line), indent, name, "", *self._around())
            if line.rstrip().endswith((":", "：")):
                self.enclosing.append((indent, "", line.strip()))
        else:
            self.open.end = start + len(line)

    def _around(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return tuple(head for *_, head in reversed(self.enclosing)), tuple(words for _, words in self.headings)

    def _close(self) -> None:
        """Ends the lines that read on, and cuts them into sentences."""
        block, self.open = self.open, None
        if block is None:
            return
        for number, (start, end) in enumerate(split_sentences(self.text, block.start, block.end)):
            heads = block.heads if number == 0 or not block.head else (block.head, *block.heads)
            self.made.append(Statement(start, end, block.name, heads, block.headings))

    def _row(self, start: int, line: str, following: str) -> None:
        cells = _cells(line, start)
        if _RULE.match(following) and not self.header:
            self.header = [self.text[first:last] for first, last in cells]
        columns = [*self.header, *[""] * len(cells)][: len(cells)]
        name = next((words for first, last in cells if (words := self.text[first:last].strip("`*\"' "))), "")
        span = (start + len(line) - len(line.lstrip()), start + len(line.rstrip()))
        titled = tuple((*cell, column) for cell, column in zip(cells, columns, strict=True))
        self.made.append(Statement(*span, name, *self._around(), cells=titled))


def _heading(line: str, following: str, first: bool) -> tuple[int, str] | None:
    """Level and words of a heading: `## words`, or words that are underlined."""
    if match := _HEADING.match(line):
        return len(match[1]), match[2]
    underline = _UNDERLINE.match(following)
    if underline and first and not line.startswith((" ", "|")):
        return (1 if underline[1] == "=" else 2), line.strip()
    return None


def _cells(line: str, start: int) -> list[tuple[int, int]]:
    """The (start, end) of a row's cells in the text."""
    first = len(line) - len(line.lstrip(" \t|")) if "|" in line else len(line) - len(line.lstrip())
    last = len(line.rstrip(" |\t")) if "|" in line else len(line.rstrip())
    bars = list(re.finditer(r"(?<!\\)\|" if "|" in line else r"\t+|\s{3,}", line[:last]))
    bars = [bar for bar in bars if bar.start() >= first]
    edges = [first, *(place for bar in bars for place in bar.span()), last]
    return [(start + a, start + b) for a, b in zip(edges[::2], edges[1::2], strict=True)]
