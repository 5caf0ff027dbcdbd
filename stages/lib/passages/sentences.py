"""Sentences of running text, in any language that ends them by punctuation: what a citation quotes.

Rules, as no library that is alive does this without a model: a sentence ends at . ! ? … (and their Asian kin) or at a
blank line, before what does not begin with a small letter, unless an abbreviation, an initial or a number with its
point stands there.
"""

import re
from typing import NamedTuple

_END = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？]+[”』」）]*|\n[ \t]*(?=\n)|\n(?=[ \t]*[•▪‣*–-][ \t])")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[„“])(?:[A-ZÄÖÜ]|al|approx|bzw|ca|cf|Ch|Dr|e\.g|Ed|eds?|engl|Eq|Eqs|etc|evtl|Fig|Figs|ggf|i\.e|incl|"
    r"[Nn]o|Nr|pp?|Prof|Ref|Refs|resp|S|Sec|St|Tab|u\.a|U\.S|usw|vgl|Vol|vs|w\.r\.t|z\.B|d\.h|\d{1,2})\.$"
)
_VISIBLE = re.compile(r"\S")


class Span(NamedTuple):
    """`text[start:end]`."""

    start: int
    end: int


def sentences(text: str) -> list[Span]:
    """Spans that together hold all visible characters, in order, none with white space at its ends."""
    found: list[Span] = []
    start = 0
    for match in _END.finditer(text):
        end = match.end()
        following = _VISIBLE.search(text, end)
        # Also over a blank line: a PDF's blocks may part a sentence.
        if following is not None and following.group().islower():
            continue
        if match.group()[0] != "\n" and _ABBREVIATION.search(text[max(start, end - 12) : end]):
            continue
        start = _add(found, text, start, end)
    _add(found, text, start, len(text))
    return found


def _add(found: list[Span], text: str, start: int, end: int) -> int:
    piece = text[start:end]
    if piece.strip():
        found.append(Span(start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())))
    return end
