"""Under which headings of a markdown text a place stands."""

import re
from bisect import bisect_right

from stages.lib.splitting.markdown import scan_markdown

SEPARATOR = " > "
MOST_CHARS = 120  # of one title
_ATX = re.compile(r" {0,3}(#{1,6})[ \t]*(.*?)[ \t]*#*[ \t]*$")
_MARKUP = (
    (re.compile(r"<[^<>]*>|\[\[[^\[\]]*\]\]|\{#[^{}]*\}"), ""),  # tags, and the anchors [[name]] and {#name}
    (re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)"), r"\1"),  # links and pictures
    (re.compile(r"(\*{1,3}|`+)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"\s+"), " "),
)


class Headings:
    """The headings of a markdown text, none of them inside fenced code or front matter."""

    def __init__(self, text: str) -> None:
        self._offsets = scan_markdown(text)[0]
        self._paths: list[str] = []  # of each heading: the titles above it and its own
        above: list[tuple[int, str]] = []  # level, title
        for offset in self._offsets:
            level, title = _heading(text, offset)
            while above and above[-1][0] >= level:
                above.pop()
            if title:
                above.append((level, title))
            self._paths.append(SEPARATOR.join(title for _, title in above))

    def path(self, position: int) -> str:
        """The titles from the top down to the section that holds the character at `position`; "" ahead of them all.

        A heading belongs to the section that it begins.
        """
        index = bisect_right(self._offsets, position) - 1
        return self._paths[index] if index >= 0 else ""


def _heading(text: str, offset: int) -> tuple[int, str]:
    """Level and title of the heading in the line at `offset`."""
    end = text.find("\n", offset)
    line = text[offset:] if end < 0 else text[offset:end]
    if match := _ATX.match(line):
        level, title = len(match[1]), match[2]
    else:  # underlined
        level, title = (1 if text[end + 1 : end + 5].lstrip(" ")[:1] == "=" else 2), line
    for pattern, replacement in _MARKUP:
        title = pattern.sub(replacement, title)
    return level, title.strip()[:MOST_CHARS]
