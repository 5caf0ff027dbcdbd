"""Reading what a model answered: question/answer pairs and ratings.

JSON is tried first; after it the two-line form that models fall into when nothing constrains
them ("Factoid question: ... Answer: ..."). What fits neither is None: the caller counts it.
"""

import re
from typing import Any

from stages.lib.replies.json_objects import find_json_object, names_key
from stages.lib.replies.stated_scores import one_line, score_of, stated_score
from stages.lib.replies.thinking import after_thinking

_PAIR = re.compile(
    r"(?:factoid\s+)?question\W{0,4}[:：]\W{0,4}(?P<question>.+?)\s*(?:factoid\s+)?\banswer\W{0,4}[:：]\s*(?P<answer>.+)",
    re.IGNORECASE | re.DOTALL,
)
_PAIR_KEYS: dict[str, tuple[type, ...]] = {"question": (str,), "answer": (str, int, float)}
_SCORE_KEYS = ("score", "rating")
_ANY = (str, int, float, bool, list, dict, type(None))


def parse_question_answer(text: str, complete: bool = True) -> tuple[str, str] | None:
    """The question and the answer of a reply; None if there are not both. `complete`: it was not cut off."""
    found = find_json_object(text, _PAIR_KEYS, complete)
    if found is not None:
        question, answer = str(found["question"]), str(found["answer"])
    else:
        text = after_thinking(text)
        match = None if names_key(text, "question") else _PAIR.search(text)
        if match is None:
            return None
        question, answer = match["question"], match["answer"].split("\n\n")[0]
    question, answer = one_line(question), one_line(answer)
    return (question, answer) if question and answer else None


def parse_rating(text: str, complete: bool = True) -> tuple[str, int] | None:
    """The rationale and the 1..5 score of a reply; None if it states no score of 1..5, or several.

    `complete`: it was not cut off.
    """
    for key in _SCORE_KEYS:
        found = find_json_object(text, {key: _ANY}, complete)
        if found is not None:
            score = _json_score(found[key])
            return None if score is None else (one_line(_text(found.get("rationale"))), score)
    return stated_score(after_thinking(text))


def _json_score(value: Any) -> int | None:
    """The score that a JSON value gives; a text may say `4/5`."""
    if isinstance(value, str):
        return score_of(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or not 1 <= value <= 5:
        return None
    return int(value)


def _text(rationale: Any) -> str:
    return rationale if isinstance(rationale, str) else "" if rationale is None else str(rationale)
