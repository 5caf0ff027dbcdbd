"""Cuts a text into overlapping chunks with exact offsets, in time linear in its length.

Three splitters: `chars` (fixed windows, but that the last two share what is left), `recursive` (the best boundary in
reach: paragraph, list item, sentence, line, word, character), `markdown` (`recursive` that knows headings and fenced
code, see markdown.py).

Why our own: langchain-text-splitters returns strings and finds their `start_index` by searching the text for them from
a guessed place on, which is ambiguous wherever text repeats. On 1,364 real documentation pages (700 characters, 10%)
its offsets left visible text uncovered in 116 places. Here the offsets come first and the text is sliced from them.

Offsets count Python characters (Unicode code points).
"""

import re
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol, assert_never

from stages.lib.splitting.clusters import Clusters
from stages.lib.splitting.markdown import MarkdownPlan
from stages.lib.splitting.tables import Tables

Splitter = Literal["chars", "recursive", "markdown"]

# From strong to weak. A boundary is where a match starts: the white space after what ends there.
_ENDED = r"(?:(?<=[.!?…؟।])|(?<=[.!?…؟।][\"'”’»)\]*_`]))(?<!\be\.g\.)(?<!\bi\.e\.)"
_BOUNDARIES = (
    re.compile(r"\n(?=[ \t]{0,16}\n)"),  # paragraph
    re.compile(_ENDED + r"\n|\n(?=[ \t]{0,16}(?:[-*+•]|\d{1,3}[.)])[ \t])"),  # sentence and line, list item
    re.compile(_ENDED + r"\s|(?<=[。！？｡])(?![”’」』）】》〉])|(?<=[。！？｡][”’」』）】》〉])"),  # sentence
    re.compile(r"\n"),  # line: weaker than a sentence, since much text is wrapped by hand
    re.compile(r"(?<=[，、；：､])"),  # clause, of scripts without blanks
    re.compile(r"\s"),  # word
)
_LOOKAHEAD = 22  # characters that a pattern may need from its start on
_VISIBLE = re.compile(r"\S")


class Span(NamedTuple):
    """`text[start:end]`."""

    start: int
    end: int


class Plan(Protocol):
    """What a splitter knows of a text: where to cut, and where to start again."""

    def cut(self, start: int, low: int, high: int, most: int) -> int:
        """The end of the chunk that begins at `start`: in low..high, or where the text demands it up to `most`."""

    def restart(self, low: int, high: int, following: int) -> int:
        """Where the overlap with the chunk before begins: in low..high, or `following` for no overlap."""


def split(
    text: str, splitter: Splitter, chunk_chars: int, overlap_fraction: float, tables: Tables | None = None
) -> Iterator[Span]:
    """Yields spans of at most `chunk_chars` characters that together hold every visible character, in order.

    With the `tables` of the text, a span that begins inside a table leaves room for the header that it has to carry
    (`tables.header(start)`), and rows that fit are not torn (but by `chars`, which cuts wherever it is).

    No span begins or ends within a grapheme cluster, but in one that is longer than a chunk.

    Neighbours share about `overlap_fraction * chunk_chars` characters (a half more or less, so as to begin at a
    boundary). No span begins or ends with white space. Starts and ends both strictly increase.
    """
    overlap = int(chunk_chars * overlap_fraction)
    plan: Plan
    match splitter:
        case "chars":
            plan = CharsPlan()
        case "recursive":
            plan = RecursivePlan(text)
        case "markdown":
            plan = MarkdownPlan(text, chunk_chars, best_boundary)
        case _:
            assert_never(splitter)
    if tables is not None and splitter != "chars":
        plan = TablePlan(plan, tables)
    return _chunks(text, plan, chunk_chars, overlap, tables.room if tables else lambda _: chunk_chars)


def best_boundary(text: str, low: int, high: int, aim: int) -> int:
    """Of the strongest kind of boundaries in low..high (both included) the one nearest to `aim`.

    Where there is no boundary it is `aim`.
    """
    for pattern in _BOUNDARIES:
        best = -1
        for match in pattern.finditer(text, low, min(high + _LOOKAHEAD, len(text))):
            if match.start() > high:
                break
            if best < 0 or abs(match.start() - aim) <= abs(best - aim):
                best = match.start()
        if best >= 0:
            return best
    return aim


class CharsPlan:
    """As long as possible, wherever that is."""

    def cut(self, start: int, low: int, high: int, most: int) -> int:
        """See `Plan`."""
        return high

    def restart(self, low: int, high: int, following: int) -> int:
        """See `Plan`."""
        return (low + high) // 2


class RecursivePlan:
    """The best boundary in reach, whatever the text is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def cut(self, start: int, low: int, high: int, most: int) -> int:
        """See `Plan`."""
        return best_boundary(self.text, low, high, high)

    def restart(self, low: int, high: int, following: int) -> int:
        """See `Plan`."""
        return best_boundary(self.text, low, high, (low + high) // 2)


class TablePlan:
    """Another plan's cuts, moved to where rows of tables begin."""

    def __init__(self, plan: Plan, tables: Tables) -> None:
        self.plan, self.tables = plan, tables

    def cut(self, start: int, low: int, high: int, most: int) -> int:
        """See `Plan`."""
        return self.tables.cut(self.plan.cut(start, low, high, most), start, low, high)

    def restart(self, low: int, high: int, following: int) -> int:
        """See `Plan`."""
        return self.tables.restart(self.plan.restart(low, high, following), low, high, following)


def _chunks(text: str, plan: Plan, chunk_chars: int, overlap: int, room_of: Callable[[int], int]) -> Iterator[Span]:
    """Greedy: each chunk ends at the best boundary of its second half.

    Linear: each step costs O(chunk_chars) and brings new text of at least a quarter of `chunk_chars - overlap`
    characters (or a whole fenced block), white space aside.
    """
    stride = chunk_chars - overlap
    slack = min(overlap // 2, stride // 4)
    size = len(text.rstrip())
    clusters = Clusters(text)

    def end_of_chunk(start: int) -> int:
        room = room_of(start)
        if size - start <= room:
            return size
        # The rest shall be no scrap: leave it a quarter of a chunk of its own.
        high = min(start + room, size - chunk_chars // 4)
        low = min(start + overlap + max(1, (room - overlap) // 2), high)
        return clusters.before(plan.cut(start, low, high, start + room), start)

    start = end = _visible_from(text, 0)
    while end < size:
        following = _visible_from(text, end)  # the first character that no chunk holds yet
        stop = end_of_chunk(start)
        if stop <= following:  # the overlap left no room for anything new
            start = following
            stop = end_of_chunk(start)
        end = start + len(text[start:stop].rstrip())
        yield Span(start, end)
        previous, following = start, _visible_from(text, end)
        middle = end - overlap
        start = following
        # Without an overlap where the chunk was too short for one, or white space too wide.
        if overlap and middle - slack > previous and following - middle + slack < overlap + stride // 2:
            begin = clusters.before(plan.restart(middle - slack, middle + slack, following), previous)
            start = following if clusters.torn(begin) else min(_visible_from(text, begin), following)


def _visible_from(text: str, position: int) -> int:
    match = _VISIBLE.search(text, position)
    return match.start() if match else len(text)
