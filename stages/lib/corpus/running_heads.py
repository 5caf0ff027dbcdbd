"""Running heads, running feet and page numbers: what stands at the edge of page after page and is not of the text."""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from stages.lib.corpus.reading_order import Line

MOST_ROWS = 3  # of a running head
EDGE = 0.17  # of a page's height in which heads and feet stand, above and below
NUMBER_EDGE = 0.25  # likewise of page numbers
GAP = 0.6  # heights of a row that part a running head from the text at least
SAME_HEIGHT = 6.0  # points that one head may stand higher or lower on another page
ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}
NEAR = 2  # pages between two that have the same head, at most: left and right pages may differ
_NUMBER = re.compile(r"\d+")
_ROMAN = re.compile(r"(?=[ivxlc])(c{0,3})(xc|xl|l?x{0,3})(ix|iv|v?i{0,3})")
_PAGE_NUMBER = re.compile(  # "7", "- 7 -", "Page 7 of 12", "Seite 7/12", "vii"
    r"[\W_]*(?:(?:page|pages|p|pg|seite|s|página|pagina|pág|pag|strona|sida|side|стр|страница)\b)?[\W_]*"
    r"(?:#|第\s*#\s*[页頁]|#\s*ページ)[\W_]*(?:(?:of|von|de|di|du|sur|av|aus|из|z)\b)?[\W_]*#?[\W_]*",
    re.IGNORECASE,
)


class Seen(NamedTuple):
    """A line at the edge of a page."""

    page: int  # its place among the pages
    line: Line
    numbers: tuple[int, ...]  # that stand in it
    outermost: bool  # in the first row, or the last
    parted: bool  # from the text, by a gap


def running_lines(pages: Sequence[Sequence[Line]], page_heights: Sequence[float]) -> set[int]:
    """The `id`s of lines that are running heads or feet, or page numbers, over the lines of all pages in turn.

    A head is the same text at the same height of several pages near each other, set off from the text by a gap, in the
    uppermost part of the page or the lowest;
    numbers in it are the same or count the pages. A page number stands outermost and counts the pages. Of a page
    that would be left with nothing, only page numbers go.
    """
    groups: dict[tuple[bool, str], list[Seen]] = defaultdict(list)
    heights = [line.height for lines in pages for line in lines]
    usual = median(heights) if heights else 0.0
    for number, (lines, height) in enumerate(zip(pages, page_heights, strict=True)):
        for top in (True, False):
            for text, seen in _edge(number, lines, top):
                line = seen.line
                within = (NUMBER_EDGE if _PAGE_NUMBER.fullmatch(text) else EDGE) * height
                if line.bottom <= within if top else line.top >= height - within:
                    groups[top, text].append(seen)
    heads: set[int] = set()
    numbers: set[int] = set()
    least = 2 if len(pages) <= 3 else 3
    for (_, text), group in groups.items():
        if _PAGE_NUMBER.fullmatch(text):
            numbers |= _counting(group, least)
        elif sum(character.isalpha() for character in text) > 1:
            heads |= _repeated(group, least, usual)
    found = set(numbers)
    for lines in pages:
        of_page = {id(line) for line in lines}
        if of_page - heads - numbers:
            found |= of_page & heads
    return found


def _edge(page: int, lines: Sequence[Line], top: bool) -> list[tuple[str, Seen]]:
    """The lines of the first rows, or of the last, each with its text in small letters and numbers as #."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.top if top else -line.bottom):
        if rows and min(line.bottom, rows[-1][0].bottom) - max(line.top, rows[-1][0].top) > 0.5 * line.height:
            rows[-1].append(line)
        elif len(rows) > MOST_ROWS:
            break
        else:
            rows.append([line])
    parted = 0  # rows up to the first gap
    for index, (row, after) in enumerate(itertools.pairwise(rows), start=1):
        between = (after[0].top - row[0].bottom) if top else (row[0].top - after[0].bottom)
        if between >= GAP * row[0].height:
            parted = index
            break
    found = []
    for index, row in enumerate(rows[:MOST_ROWS]):
        for line in row:
            text, numbers = _with_numbers(" ".join(word for word, _ in line.words))
            found.append((text, Seen(page, line, numbers, index == 0, index < parted)))
    return found


def _with_numbers(text: str) -> tuple[str, tuple[int, ...]]:
    """The text with # for each number, and the numbers; a Roman one where it stands alone."""
    low = text.casefold()
    bare = low.strip("-–—[]()|. ")
    if bare and _ROMAN.fullmatch(bare):
        return "#", (_roman(bare),)
    return _NUMBER.sub("#", low), tuple(int(number[:9]) for number in _NUMBER.findall(low))


def _roman(number: str) -> int:
    values = [ROMAN[letter] for letter in number]
    return sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))


def _counting(group: Sequence[Seen], least: int) -> set[int]:
    """Lines whose first number is the page's, but for a constant that enough pages share."""
    outer = [seen for seen in group if seen.outermost and seen.numbers]
    shifts = Counter(seen.numbers[0] - seen.page for seen in outer)
    return {id(seen.line) for seen in outer if shifts[seen.numbers[0] - seen.page] >= least}


def _repeated(group: Sequence[Seen], least: int, usual: float) -> set[int]:
    """Lines of one text that enough pages near each other have at one height."""
    possible = [seen for seen in group if seen.parted]
    if not possible:
        return set()
    height = median(seen.line.top for seen in possible)
    possible = [seen for seen in possible if abs(seen.line.top - height) <= SAME_HEIGHT]
    slots = len(possible[0].numbers) if possible else 0
    for slot in range(slots):  # a number counts the pages, or is the same on all of them
        if not possible:
            break
        same = Counter(seen.numbers[slot] for seen in possible)
        shift = Counter(seen.numbers[slot] - seen.page for seen in possible)
        counts = shift.most_common(1)[0][1] > same.most_common(1)[0][1]
        if counts:  # a heading "Step 7" counts, too, in larger letters
            possible = [seen for seen in possible if seen.line.height <= 1.15 * usual]
            usual_shift = shift.most_common(1)[0][0]
            possible = [seen for seen in possible if seen.numbers[slot] - seen.page == usual_shift]
        else:
            possible = [seen for seen in possible if same[seen.numbers[slot]] >= least]
    pages = sorted({seen.page for seen in possible})
    near = {
        page
        for place, page in enumerate(pages)
        if any(abs(page - other) <= NEAR for other in pages[max(0, place - 1) : place] + pages[place + 1 : place + 2])
    }
    return {id(seen.line) for seen in possible if seen.page in near} if len(near) >= least else set()
