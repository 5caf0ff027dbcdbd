"""Reading what a model answered: question/answer pairs and ratings, and the span of a text that supports an answer.

JSON is tried first; after it the two-line form that models fall into when nothing constrains
them ("Factoid question: ... Answer: ..."). What fits neither is None: the caller counts it.
"""

import json
import re
from typing import Any

from stages.lib.llm.facts import sentences
from stages.lib.llm.words import content_words

SUPPORT_COVERAGE = 0.7  # share of an answer's content words that a supporting sentence must hold

_PAIR = re.compile(
    r"(?:factoid\s+)?question\W{0,4}:\s*(?P<question>.+?)\s*(?:factoid\s+)?\banswer\W{0,4}:\s*(?P<answer>.+)",
    re.IGNORECASE | re.DOTALL,
)
_SCORE = re.compile(r"(?:score|rating)\W{0,6}(?:is\s+)?([1-5])(?:\s*/\s*5)?(?![\d.]*\d)", re.IGNORECASE)
_OPENING_MARKS, _CLOSING_MARKS = " \t\n\"'*`", " \t\n\"'*`"


def parse_question_answer(text: str) -> tuple[str, str] | None:
    """The question and the answer of a reply; None if there are not both."""
    found = find_json_object(text)
    if found is not None:
        question, answer = found.get("question"), found.get("answer")
    elif match := _PAIR.search(text):
        question, answer = match["question"], match["answer"].split("\n\n")[0]
    else:
        return None
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    if not isinstance(question, str) or not isinstance(answer, str) or not question.strip() or not answer.strip():
        return None
    return _one_line(question), _one_line(answer)


def parse_rating(text: str) -> tuple[str, int] | None:
    """The rationale and the 1..5 score of a reply; None if there is no score of 1..5."""
    found = find_json_object(text)
    if found is not None:
        score, rationale = found.get("score"), found.get("rationale", "")
        if isinstance(score, str) and re.fullmatch(r"[1-5]", score.strip()):
            score = int(score)
        if isinstance(score, float) and score.is_integer():
            score = int(score)
        if type(score) is not int or not 1 <= score <= 5 or not isinstance(rationale, str):
            return None
        return _one_line(rationale), score
    scores = _SCORE.findall(text)
    if not scores:
        return None
    return _one_line(_SCORE.split(text)[0]), int(scores[-1])


def find_json_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a reply, whatever stands around it (a code fence, a sentence)."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", text):
        try:
            found, _ = decoder.raw_decode(text, match.start())
        except json.JSONDecodeError:
            continue
        if isinstance(found, dict):
            return found
    return None


def find_support(answer: str, text: str) -> dict[str, int] | None:
    """{start, end} of the span of `text` that supports the answer; None where there is none.

    The answer itself if the text holds it, whatever the case and white space; else the first of
    the sentences that hold most of its content words, if that is at least SUPPORT_COVERAGE.
    """
    words = answer.strip(_OPENING_MARKS + ".").split()
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


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip(_CLOSING_MARKS)
