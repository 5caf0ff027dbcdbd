"""The span of a text that supports an answer to a question."""

import math
import re
from collections import Counter
from collections.abc import Sequence

from stages.lib.english.text_statements import Statement, statements
from stages.lib.english.words import content_words
from stages.lib.languages.words import UNSPACED, is_unspaced

SUPPORT_COVERAGE = 0.7  # share of an answer's content words that a supporting sentence must hold
HEAD_WEIGHT = 0.9  # of a question's word that stands in the head of the entry or item, or of the column
HEADING_WEIGHT = 0.4  # of one that stands in a heading above

_QUOTES = " \t\n\"'*`“”„«»「」『』.。"


def find_support(answer: str, text: str, question: str) -> dict[str, int] | None:
    """{start, end} of the span of `text` that supports the answer to the question; None where there is none.

    The answer itself if the text holds it, whatever the case and white space: of several places the one whose
    statement (sentence, entry, list item, row of a table) shares most with the question, the rarer its words in the
    text the more they count; what an entry's head, its column and the headings above say counts too. Within one
    statement the place counts that the question's words are nearest to; ties go to the first. Where the text does not
    hold the answer: the sentence that holds most of its content words, if that is at least SUPPORT_COVERAGE, ties as
    above; a number must stand there itself.
    """
    words = answer.strip(_QUOTES).split()
    if not words:
        return None
    places = [match.span() for match in _occurrences(words).finditer(text)]
    if len(places) == 1:
        return {"start": places[0][0], "end": places[0][1]}
    made = statements(text)
    fit = _Fit(question, text, made)
    if places:
        wording = " ".join(words)
        fits = {place: (*fit.of_place(*place), text[slice(*place)] == wording, -place[0]) for place in places}
        best = max(places, key=fits.__getitem__)
        return {"start": best[0], "end": best[1]}
    wanted = content_words(answer)
    if not wanted or not any(letter.isalpha() for letter in answer):
        return None
    scored = [(len(wanted & content_words(text[one.start : one.end])) / len(wanted), one) for one in made]
    enough = [(coverage, fit.of(one), -one.start, one) for coverage, one in scored if coverage >= SUPPORT_COVERAGE]
    if not enough:
        return None
    found = max(enough, key=lambda each: each[:3])[3]
    return {"start": found.start, "end": found.end}


def _occurrences(words: Sequence[str]) -> re.Pattern[str]:
    """The answer's words with any white space between them, not within a word or a number."""
    pattern = r"\s+".join(re.escape(word) for word in words)
    first, last = words[0][0], words[-1][-1]
    # A letter of a script without blanks may stand beside a word of ours: 默认为8。
    before = "" if is_unspaced(first) else rf"(?<![^\W{UNSPACED}])"
    after = "" if is_unspaced(last) else rf"(?![^\W{UNSPACED}])"
    if first.isdigit():
        before += r"(?<!\d[.,])(?<![\s(=`\"'][-−])"
    if last.isdigit():
        after += r"(?![.,]\d)"
    return re.compile(before + pattern + after, re.IGNORECASE)


class _Fit:
    """How well the statements of a text fit a question."""

    def __init__(self, question: str, text: str, made: Sequence[Statement]) -> None:
        self._text, self._made = text, made
        self._question = content_words(question)
        self._names = {name.strip(".-_").lower() for name in re.findall(r"[\w.\-]+", question)}
        held = Counter(word for one in made for word in content_words(text[one.start : one.end]) & self._question)
        self._weights = {word: math.log(1 + len(made) / max(held[word], 1)) for word in self._question}
        self._most = max(self._weights.values(), default=0.0)

    def of_place(self, start: int, end: int) -> tuple[float, float]:
        """The fit of the statement around a place, and how near the question's words stand within it.

        Both 0 for a place in a heading, which states nothing.
        """
        for one in self._made:
            if one.start <= start < one.end:
                column = next((title for first, last, title in one.cells if first <= start and end <= last), "")
                return self.of(one, column), self._nearness(one, start, end)
        return 0.0, 0.0

    def of(self, one: Statement, column: str = "") -> float:
        """The weights of the question's words that a statement, its heads and its headings hold."""
        own = content_words(self._text[one.start : one.end])
        heads = content_words(" ".join((column, *one.heads)))
        headings = content_words(" ".join(one.headings))
        parts = [self._most if one.name and one.name.lower() in self._names else 0.0]
        for word in sorted(self._question):
            share = 1.0 if word in own else HEAD_WEIGHT if word in heads else HEADING_WEIGHT if word in headings else 0
            parts.append(share * self._weights[word])
        return round(math.fsum(parts), 9)

    def _nearness(self, one: Statement, start: int, end: int) -> float:
        """The weights of the question's words in the statement, each by its least distance from the place."""
        nearest: dict[str, int] = {}
        for match in re.finditer(r"[\w.\-]+", self._text[one.start : one.end]):
            first, last = (one.start + place for place in match.span())
            distance = max(first - end, start - last, 0)
            for word in content_words(match[0]) & self._question:
                nearest[word] = min(distance, nearest.get(word, distance))
        return round(math.fsum(self._weights[word] / (1 + nearest[word]) for word in sorted(nearest)), 9)
