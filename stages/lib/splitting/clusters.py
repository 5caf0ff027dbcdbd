"""Grapheme clusters, which a person sees as one character: where a text must not be cut.

Unicode's rules (UAX #29) by the `regex` library: accents, emoji with skin tones or joined by ZWJ, flags, keycaps,
Indic conjuncts with their vowel signs, Thai marks, Hangul of single jamo.
"""

import regex

_CLUSTER = regex.compile(r"\X")
# What makes a cluster of more than one character: all else is Other or Control.
_BINDS = regex.compile(r"[^\p{GCB=Other}\p{GCB=Control}\p{GCB=CR}\p{GCB=LF}]")


class Clusters:
    """The clusters of a text; only the lines where characters bind are looked through, each once."""

    def __init__(self, text: str) -> None:
        self._inside = bytearray()  # 1 where a cut would tear a cluster; empty: nowhere
        if text.isascii():
            return
        line_end = 0
        while found := _BINDS.search(text, line_end):
            if not self._inside:
                self._inside = bytearray(len(text) + 1)
            line_start = max(text.rfind("\n", 0, found.start()) + 1, line_end)
            line_end = text.find("\n", found.start()) + 1 or len(text)
            for cluster in _CLUSTER.finditer(text, line_start, line_end):
                start, end = cluster.span()
                if end - start > 1:
                    self._inside[start + 1 : end] = b"\1" * (end - start - 1)

    def torn(self, position: int) -> bool:
        """Whether a cut at `position` tears a cluster."""
        return bool(self._inside) and self._inside[position] == 1

    def before(self, position: int, above: int) -> int:
        """The last place in above + 1..position that tears no cluster; `position` itself where there is none."""
        if not self.torn(position):
            return position
        whole = self._inside.rfind(0, above + 1, position)
        return whole if whole >= 0 else position
