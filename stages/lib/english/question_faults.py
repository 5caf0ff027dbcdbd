"""What is wrong with a question, seen from the question alone."""

import re

from stages.lib.english.words import normalised

MAX_QUESTION_CHARS = 300
_QUESTION_START = re.compile(
    r"^(what|which|when|where|who|whom|whose|why|how|is|are|was|were|do|does|did|can|could|should|must|may|will|would|"
    r"has|have|in|on|for|at|by|to|under|from|with|according|if|given|during|after|before|as|within|between|into|of)\b",
    re.IGNORECASE,
)
_POINTS_OUTSIDE = re.compile(
    r"\b(this|that|these|those|the (above|below|following|given|provided|preceding|current)) (function|method|class|"
    r"example|case|text|context|passage|paragraph|document|documentation|code|section|fact|statement|article|snippet|"
    r"excerpt|chunk|page)\b|\b(according to|in|from|by) the (text|context|passage|paragraph|document|fact|statement|"
    r"excerpt|article|snippet)\b|\b(mentioned|described|stated|given|shown|listed) (above|below|here|in the)\b|"
    r"\b(above|below)\?$",
    re.IGNORECASE,
)


def question_fault(question: str) -> str | None:
    """Why a text cannot serve as a question that stands on its own; None if it can.

    Reasons: not_a_question, repeats_itself, refers_to_context.
    """
    if not question.endswith("?") or len(question.split()) < 4 or len(question) > MAX_QUESTION_CHARS:
        return "not_a_question"
    if question.count("?") > 1 or not _QUESTION_START.match(question.strip("\"'`* ")):
        return "not_a_question"
    words = normalised(question).split()
    triples = list(zip(words, words[1:], words[2:], strict=False))
    if len(triples) - len(set(triples)) >= 2:
        return "repeats_itself"
    return "refers_to_context" if _POINTS_OUTSIDE.search(question) else None
