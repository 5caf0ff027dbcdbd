"""The span of a text that supports an answer."""

import re

from stages.lib.english.facts import sentences
from stages.lib.english.words import content_words

SUPPORT_COVERAGE = 0.7  # share of an answer's content words that a supporting sentence must hold


def find_support(answer: str, text: str) -> dict[str, int] | None:
    """{start, end} of the span of `text` that supports the answer; None where there is none.

    The answer itself if the text holds it, whatever the case and white space; else the first of
    the sentences that hold most of its content words, if that is at least SUPPORT_COVERAGE.
    """
    words = answer.strip(" \t\n\"'*`.").split()
    if not words:
        return None
    pattern = r"\s+".join(re.escape(word) for word in words)
    if match := re.search(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE):
        return {"start": match.start(), "end": match.end()}
    wanted = content_words(answer)
    best, best_coverage = None, 0.0
    for start, end in _paragraph_sentences(text) if wanted else ():
        coverage = len(wanted & content_words(text[start:end])) / len(wanted)
        if coverage > best_coverage:
            best, best_coverage = {"start": start, "end": end}, coverage
    return best if best_coverage >= SUPPORT_COVERAGE else None


def _paragraph_sentences(text: str) -> list[tuple[int, int]]:
    spans = []
    start = 0
    for blank in [*re.finditer(r"\n[ \t]*\n", text), None]:
        end = blank.start() if blank else len(text)
        spans += sentences(text, start, end)
        start = blank.end() if blank else end
    return spans
