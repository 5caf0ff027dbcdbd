"""The score of 1 to 5 that a judge states in words: `Total rating: 4/5`, `I would rate it a 4`, `Bewertung: 4`.

Rather none than a wrong one: a range, a fraction, another scale, a negated or supposed score is none, and so are two
different ones unless one of them is called the total.
"""

import math
import re
from typing import NamedTuple

_NAMES = (
    "score|rating|grade|bewertung|wertung|punktzahl|note|nota|puntuaci[oó]n|calificaci[oó]n|valoraci[oó]n|"
    "évaluation|pontuação|avaliação|valutazione|punteggio|оценка|评分|得分|分数|评级|評価|評点|スコア|점수|평점|التقييم|الدرجة"
)
_TOTAL = (
    "total|overall|final|gesamt\\w*|insgesamt|endnote|global|totale?|finale?|final answer|verdict|conclusion|"
    "therefore|总|最终|総合|총"
)
_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "eins": 1, "zwei": 2, "drei": 3, "vier": 4, "fünf": 5}
_OTHER_WORDS = "zero|six|seven|eight|nine|ten"
_VALUE = rf"(?P<value>[+\-−]?\d+(?:[.,/]\d+)?|(?:{'|'.join(_WORDS)}|{_OTHER_WORDS})\b)"
_UNIT = r"(?:stars?|points?|sterne?n?|punkte?n?|estrellas?|puntos?|étoiles?|分|点|점|星)"
_SCALE = (
    rf"(?:\s+{_UNIT}(?=\s+(?:out|of|von|de)\b))?"
    r"(?:\s*[(\[]?\s*(?:/|out\s+of|of|von|de|sur|su|из)\s*(?P<scale>\d+|five|ten)\b(?:[.,]0+)?)?"
    rf"(?:\s*-?{_UNIT})?"
)
_SCALE_FIRST = r"(?:\s*[(\[（][^()\[\]（）\n]{1,40}[)\]）]|\s+(?:on|auf)\s+[^:\n]{3,40}?(?=\s*[:：=]))?"
# After the number ends what is said of it; a noun would make it a count ("Note: 4 parameters").
_END = (
    r"(?=\s*(?:$|[.,;:!?()\]}\"'»”\n|—–。，；、！）]|\s-\s|\s(?:because|since|as|for|and|but|so|given|due|with|which|is|"
    r"would|weil|da|denn|aber|und|porque|car|parce)\b))"
)
_KEYED = re.compile(
    rf"(?P<total>(?:{_TOTAL})\W{{0,2}})?(?P<name>(?<![^\W_])(?:{_NAMES})(?![a-zäöüß])|(?:{_TOTAL})(?=\s*[:：=]))"
    rf"{_SCALE_FIRST}"
    rf"(?P<sign>\s*(?:[:：=→]|-{{1,2}}>)\s*[\"'(\[]?|\s+[-–—]\s+|"
    r"\s+(?:is|of|ist|von|es|est|è|was|would be|:)\s+(?:an?\s+)?|\s+)"
    rf"{_VALUE}{_SCALE}{_END}",
    re.IGNORECASE,
)
_GIVEN = re.compile(
    r"\b(?:rate|rated|give|gave|score|scored|assign|assigned|grade|award|awarded|deserves?|gets?|earns?|receives?|"
    r"merits?|vergebe|gebe|bewerte|erhält|verdient|doy|daría|donne|donnerais)\b"
    rf"(?:(?:\s+[^\W\d]\S*?){{0,8}}?)\s+(?:(?:a|an|as|at|with|mit|una?|un|the|of|eine)\s+)*{_VALUE}{_SCALE}{_END}",
    re.IGNORECASE,
)
_OF_FIVE = re.compile(
    rf"(?<![\w.,/\-]){_VALUE}\s*(?:/|out\s+of|von)\s*(?P<scale>\d+|five|ten)\b(?![/.,]\d)", re.IGNORECASE
)
_BUT = re.compile(  # "not a 5 but a 3"
    r"\b(?:not|nicht|keine?)\s+(?:(?:an?|eine?)\s+)?\d\W{0,2}\s*(?:but|sondern|rather)\s+(?:(?:rather|an?|eine?)\s+)*"
    rf"{_VALUE}{_SCALE}{_END}",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\{\s*(?:\\text\{\s*)?" + _VALUE + r"(?:\s*/\s*(?P<scale>\d+))?\s*\}")
_ALONE = re.compile(rf"\W*{_VALUE}{_SCALE}\W*", re.IGNORECASE)
_SPAN = re.compile(
    r"(?:scale|skala|escala|échelle|between|range[sd]?|[(\[（])\s*(?:(?:of|from|von|de|runs from|goes from)\s+)?"
    r"(?P<low>\d+)\s*(?:-|–|—|to|bis|a|à|through|and|~|至|到)\s*(?P<high>\d+)",
    re.IGNORECASE,
)
_RANGE = re.compile(
    rf"\s*(?:-|–|—|to|or|bis|oder|and|y|o|ou)\s*(?:an?\s+)?(?:\d|(?:{'|'.join(_WORDS)})\b)", re.IGNORECASE
)
_FIRST_OF_RANGE = re.compile(
    r"(?:between|zwischen|entre|from|von|either|\d\s*(?:-|–|—|to|or|bis|oder))\s*(?:an?\s+)?$", re.IGNORECASE
)
_BREAK = re.compile(
    r"[.;!?\n。；](?=\s|$)|[,，:](?=\s)|\s[-–—]\s|[()]|"
    r"\b(?:so|hence|therefore|thus|but|because|since|although|though|while|however|aber|sondern|weil|also)\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:not|never|no|cannot|neither|nor|without|hardly|rather than|instead of|nicht|keine?n?|nie|statt|"
    r"no es|ne|pas)\b|n['’]t\b",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:if|unless|would (?:be|have|need|require|mean)|could have|might|for an?|to (?:get|earn|deserve|reach)|"
    r"means?|requires?|needs?|initially|at first|first|wenn|falls)\b",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"\s*(?:(?:is|was|seems?|would be|ist|wäre)\s+(?:\w+\s+)?(?:not|too|nicht|zu|undeserved|unjustified)\b|isn['’]t|"
    r"(?:would|could|means?|requires?|needs?|if|unless|only if)\b)",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"[*_`#]+|</?\w+>")


CLAUSE = 300  # characters of a clause that are looked at


class _Statement(NamedTuple):
    start: int  # of its words
    score: int | None  # None: not of the scale of 1 to 5
    total: bool  # called the total


def stated_score(text: str) -> tuple[str, int] | None:
    """What stands before the statement of a score, and the score; None if no score, or no single one, is stated."""
    text = _MARKUP.sub("", text)
    found = _statements(text)
    if not found:
        lines = [line for line in text.splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        score = score_of(last)
        return None if score is None or _has_other_scale(text) else (one_line(text[: text.rindex(last)]), score)
    if any(part.total for part in found):
        scores = {part.score for part in found if part.total}
    else:
        scores = {part.score for part in found}
    score = scores.pop() if len(scores) == 1 else None
    return None if score is None else (one_line(text[: found[0].start]), score)


def score_of(text: str) -> int | None:
    """The score of a text that says nothing else: `4`, `4/5`, `4.0`, `four`, `4 stars`."""
    match = _ALONE.fullmatch(text.strip())
    return _score(match) if match else None


def one_line(text: str) -> str:
    """The text on one line, without quotation marks, stars and backticks around it."""
    return re.sub(r"\s+", " ", text).strip(" \t\n\"'*`")


def _statements(text: str) -> list[_Statement]:
    found: dict[int, _Statement] = {}  # by the place of the number
    other = _has_other_scale(text)
    for pattern in (_BOXED, _BUT, _KEYED, _GIVEN, _OF_FIVE):
        for match in pattern.finditer(text):
            place = match.start("value")
            if place in found or (pattern not in (_BOXED, _BUT) and _is_void(text, match)):
                continue
            groups = match.groupdict()
            start = match.start("name") if groups.get("name") else match.start()
            is_range = _RANGE.match(text, match.end()) or _FIRST_OF_RANGE.search(text[max(0, place - 40) : place])
            score = None if is_range or (other and not groups.get("scale")) else _score(match)
            found[place] = _Statement(start, score, bool(groups.get("total")) or pattern is _BOXED)
    return [found[place] for place in sorted(found)]


def _is_void(text: str, match: re.Match[str]) -> bool:
    """Whether the clause takes the statement back, supposes it, or explains the scale."""
    nearest = max(0, match.start() - CLAUSE)
    begins = [part.end() for part in _BREAK.finditer(text, nearest, match.start())]
    before = text[begins[-1] if begins else nearest : match.start("value")]
    return bool(_NEGATION.search(before) or _SUPPOSED.search(before) or _TAKEN_BACK.match(text, match.end()))


def _score(match: re.Match[str]) -> int | None:
    value, scale = match["value"].lower(), match.groupdict().get("scale")
    if "/" in value:
        value, _, scale = value.partition("/")
    if scale is not None and scale.lower() not in ("5", "five"):
        return None
    number = float(_WORDS[value]) if value in _WORDS else _number(value)
    return int(number) if number in (1, 2, 3, 4, 5) else None


def _number(value: str) -> float:
    try:
        return float(value.replace(",", ".").replace("−", "-"))
    except ValueError:
        return math.nan


def _has_other_scale(text: str) -> bool:
    return any((match["low"], match["high"]) != ("1", "5") for match in _SPAN.finditer(text))
