"""Where a markdown text may be cut: at headings first, and not inside a fenced code block that fits into a chunk."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable

# One linear scan for the lines that matter. Fences at any indentation: those of list items count too.
_MARKS = re.compile(
    r"^(?:[ \t]*(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)"
    r"|(?P<heading> {0,3}#{1,6}(?=[ \t\n]))"
    r"|(?P<underline> {0,3}(?:={2,}|-{3,})[ \t]*$))",
    re.MULTILINE,
)

# No possessive repeat of the lines: Python 3.11.0 to 3.11.4 match one with a lookahead in it wrongly.
FRONT_MATTER = re.compile(
    r"---[ \t]*\n(?=[ \t]*[^\s#:][^\n:]*:|#|---)(?:(?!---[ \t]*$)[^\n]*\n)*---[ \t]*(?:\n|\Z)", re.MULTILINE
)


def scan_markdown(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """The offsets of the lines with headings (`# one`, and underlined ones), and the spans of fenced code blocks.

    CommonMark's rules, but for indentation: a fence closes with at least as many of the same characters and nothing
    else in the line; an unclosed one runs to the end of the text. Inside, nothing is a heading, nor is anything in
    front matter (YAML between two lines `---` at the very beginning).
    """
    headings: list[int] = []
    fences: list[tuple[int, int]] = []
    opened: tuple[int, str] | None = None  # where, and with what
    front = FRONT_MATTER.match(text)
    after_mark = front.end() if front else 0  # the end of the mark before
    for match in _MARKS.finditer(text, after_mark):
        if match["heading"] is not None:
            if opened is None:
                headings.append(match.start())
        elif match["underline"] is not None:
            begin = text.rfind("\n", 0, max(0, match.start() - 1)) + 1  # of the line above
            if opened is None and begin >= after_mark and text[begin : match.start()].strip():
                headings.append(begin)
        elif opened is None:
            if not (match["fence"][0] == "`" and "`" in match["info"]):  # ```inline code``` in one line
                opened = (match.start(), match["fence"])
        elif match["fence"].startswith(opened[1]) and not match["info"].strip():
            fences.append((opened[0], match.end()))
            opened = None
        after_mark = match.end()
    if opened is not None:
        fences.append((opened[0], len(text)))
    return headings, fences


class MarkdownPlan:
    """Cuts (see splitters.Plan) before headings, then at the best boundary outside of fenced code that fits.

    A chunk that begins with a heading has no overlap: the text before belongs to another section. Nor does an
    overlap begin inside fenced code.
    """

    def __init__(self, text: str, chunk_chars: int, best_boundary: Callable[[str, int, int, int], int]) -> None:
        self.text = text
        self.chunk_chars = chunk_chars
        self.best_boundary = best_boundary
        self.headings, self.fences = scan_markdown(text)

    def cut(self, start: int, low: int, high: int, most: int) -> int:
        """The last heading in low..high, or the best boundary; before a fenced block that would else be cut in two."""
        index = bisect_right(self.headings, high) - 1
        if index >= 0 and self.headings[index] >= max(low, start + 1):
            return self.headings[index]
        cut = self.best_boundary(self.text, low, high, high)
        fence = self._fence_around(cut)
        if fence is None or fence[1] - fence[0] > self.chunk_chars:
            return cut
        if fence[0] > start:
            return fence[0]
        return fence[1] if fence[1] <= most else cut

    def restart(self, low: int, high: int, following: int) -> int:
        """A boundary in low..high that no heading separates from `following` and that is in no fenced block."""
        index = bisect_right(self.headings, following) - 1
        if index >= 0 and self.headings[index] >= low:
            return self.headings[index]
        begin = self.best_boundary(self.text, low, high, (low + high) // 2)
        fence = self._fence_around(begin)
        return begin if fence is None else following

    def _fence_around(self, position: int) -> tuple[int, int] | None:
        """The fenced block with `position` strictly inside."""
        index = bisect_left(self.fences, (position, -1)) - 1
        if index >= 0 and self.fences[index][0] < position < self.fences[index][1]:
            return self.fences[index]
        return None
