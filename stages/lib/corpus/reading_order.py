"""The lines of a page in the order in which people read them: columns one after the other.

A PDF holds its lines in the order in which a program wrote them, which for one column is nearly always the reading
order and is kept. Where most lines leave a gutter free, the page has columns: lines that cross the gutter (a title, a
wide figure's caption) part the page into bands, and in each band the left column is read before the right one, which
may have columns of its own. This is the recursive XY-cut (Nagy and Seth, "Hierarchical representation of optically
scanned documents", ICPR 1984) with lines that may cross a cut, as titles do.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

GAP = 2.5  # heights of a line between two words of one line that belong to two columns
GUTTER = 0.6  # heights of a line that a gutter is wide at least
MIN_LINES = 4  # of each column
MOST = 0.6  # share of a page's letters that stand beside the gutter, where there are columns
BOTH = 0.15  # share of them in the smaller column
SIDE_BY_SIDE = 0.4  # share of the shorter column's height at which the other one has lines, too


@dataclass
class Line:
    """Words beside each other, without a gap that parts columns."""

    place: tuple[int, int]  # PyMuPDF's numbers of block and line
    words: list[tuple[str, tuple[float, float, float, float]]] = field(default_factory=list)
    left: float = 0.0
    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0
    part: tuple[int, ...] = ()  # the columns that it was put into

    @property
    def height(self) -> float:
        """Points."""
        return self.bottom - self.top

    @property
    def letters(self) -> int:
        """Characters of its words."""
        return sum(len(text) for text, _ in self.words)

    def add(self, text: str, box: tuple[float, float, float, float]) -> None:
        """Appends a word."""
        if not self.words:
            self.left, self.top, self.right, self.bottom = box
        self.words.append((text, box))
        self.left, self.right = min(self.left, box[0]), max(self.right, box[2])
        self.top, self.bottom = min(self.top, box[1]), max(self.bottom, box[3])

    def goes_on(self, place: tuple[int, int], box: tuple[float, float, float, float]) -> bool:
        """Whether the next word belongs to this line: MuPDF begins a new line wherever the text was written anew."""
        left, top, _, bottom = box
        shared = min(self.bottom, bottom) - max(self.top, top)
        beside = shared >= 0.5 * min(self.height, bottom - top) and left >= self.right - 0.2 * self.height
        return (
            self.place[0] == place[0]
            and (self.place == place or beside)
            and left - self.right <= GAP * max(self.height, 1.0)
        )

    def follows(self, before: "Line") -> bool:
        """Whether it is the next line of the same paragraph."""
        return self.place[0] == before.place[0] and self.part == before.part


def in_reading_order(lines: Sequence[Line]) -> list[Line]:
    """The lines of a page in reading order; their `part` says which column each is in."""
    gutter = _gutter(lines)
    if gutter is None:
        return list(lines)
    bands: list[tuple[list[Line], list[Line]]] = [([], [])]  # beside the gutter: left, right
    crossing: list[list[Line]] = [[]]  # ahead of each band
    for line in sorted(lines, key=lambda line: (line.top + line.bottom, line.left)):
        if line.right <= gutter:
            bands[-1][0].append(line)
        elif line.left >= gutter:
            bands[-1][1].append(line)
        elif bands[-1] == ([], []):
            crossing[-1].append(line)
        else:
            bands.append(([], []))
            crossing.append([line])
    ordered: list[Line] = []
    for number, (ahead, sides) in enumerate(zip(crossing, bands, strict=True)):
        ordered += _kept_order(ahead, lines)
        for side, column in enumerate(sides):
            for line in column:
                line.part = (*line.part, number, side)
            ordered += in_reading_order(_kept_order(column, lines) if _is_down(column, lines) else column)
    return ordered


def _gutter(lines: Sequence[Line]) -> float | None:
    """The x of the best gap between two columns; None: one column."""
    if len(lines) < 2 * MIN_LINES:
        return None
    height = sorted(line.height for line in lines)[len(lines) // 2]
    total = sum(line.letters for line in lines)
    best: tuple[float, float] | None = None  # letters beside it, x
    for x in _gaps(lines, GUTTER * height):
        left = [line for line in lines if line.right <= x]
        right = [line for line in lines if line.left >= x]
        smaller = min(sum(line.letters for line in left), sum(line.letters for line in right))
        beside = sum(line.letters for line in (*left, *right))
        if min(len(left), len(right)) < MIN_LINES or beside < MOST * total or smaller < BOTH * total:
            continue
        if _side_by_side(left, right) >= SIDE_BY_SIDE and (best is None or beside > best[0]):
            best = beside, x
    return best[1] if best else None


def _gaps(lines: Sequence[Line], width: float) -> list[float]:
    """The middles of the gaps of at least `width` between a right edge and what begins to the right of it."""
    found = []
    for x in sorted({round(line.right) for line in lines}):
        after = min((line.left for line in lines if line.left >= x), default=0.0)
        if after - x >= width:
            found.append((x + after) / 2)
    return found


def _side_by_side(left: Sequence[Line], right: Sequence[Line]) -> float:
    """The share of the shorter column's lines that have lines of the other one beside them."""
    first, second = (left, right) if len(left) <= len(right) else (right, left)
    beside = [any(a.top < b.bottom and b.top < a.bottom for b in second) for a in first]
    return sum(beside) / len(beside)


def _kept_order(lines: Sequence[Line], original: Sequence[Line]) -> list[Line]:
    """Lines in the order of the file."""
    order = {id(line): i for i, line in enumerate(original)}
    return sorted(lines, key=lambda line: order[id(line)])


def _is_down(column: Sequence[Line], original: Sequence[Line]) -> bool:
    """Whether the file's own order goes down the column, but for a few lines."""
    tops = [line.top for line in _kept_order(column, original)]
    steps = sum(later >= earlier - 1 for earlier, later in itertools.pairwise(tops))
    return steps >= 0.8 * max(1, len(tops) - 1)
