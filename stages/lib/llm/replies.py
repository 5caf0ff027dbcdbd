"""Reading what a model answered: question/answer pairs and ratings.

JSON is tried first; after it the two-line form that models fall into when nothing constrains
them ("Factoid question: ... Answer: ..."). What fits neither is None: the caller counts it.
"""

import re

from stages.lib.llm.json_objects import find_json_object

_PAIR = re.compile(
    r"(?:factoid\s+)?question\W{0,4}:\s*(?P<question>.+?)\s*(?:factoid\s+)?\banswer\W{0,4}:\s*(?P<answer>.+)",
    re.IGNORECASE | re.DOTALL,
)
_SCORE = re.compile(r"(?:score|rating)\W{0,6}(?:is\s+)?([1-5])(?:\s*/\s*5)?(?![\d.]*\d)", re.IGNORECASE)
_CLOSING_MARKS = " \t\n\"'*`"


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


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip(_CLOSING_MARKS)
