"""Which of two values a reply states and which it rejects: "The default is not 16 but 8." rejects 16 and states 8."""

import re
from itertools import pairwise
from typing import NamedTuple

from stages.lib.reply_acts.reply_frames import reply_sentences

_UNSPACED = r"\u3005-\u30ff\u3400-\u9fff"
_BREAKS = re.compile(
    r"[,;:，；：](?!\d)\s*|\s+[-–—]+\s+|"
    r"\s(?=(?:but|whereas|while|sondern|aber|mais|sino|ma|maar|instead|and not)\s)|(?=而是|但)",
    re.IGNORECASE,
)
_REJECTS_AFTER = re.compile(  # before the value, in its clause
    r"(?:\b(?:not(?! only)|never|no longer|isn['’]?t|doesn['’]?t|wasn['’]?t|aren['’]?t|don['’]?t|didn['’]?t|"
    r"can['’]?t|cannot|"
    r"rather than|instead of|contrary to|unlike|in place of|as opposed to|neither|nor|without|"
    r"nicht|kein\w*|statt|anstatt|anstelle von|ne|pas|au lieu de|plutôt que|et non|non|en lugar de|en vez de|"
    r"invece di|em vez de|niet|geen|не|вместо)\b|^no\s+(?=\S+$)|\bno\s+es\b|"
    r"(?:不是|而不是|并非|不为|非|没有|ではなく|じゃなく))",
    re.IGNORECASE,
)
_REJECTS_BEFORE = re.compile(  # behind it
    r"^[\"'”’`]?\s*(?:\S+\s){0,2}?(?:(?:is|are|was|would be|seems?|ist|est|es|è)\s+(?:not\b|nicht\b|n['’]?est|"
    r"(?:\w+\s)?(?:wrong|incorrect|false|mistaken|untrue|a mistake|an error|a misunderstanding|a misconception|falsch|"
    r"faux|fausse|incorrect[oa]?|fals[oa]))|"
    r"(?:is|does|did|do|was|has|can|will|would)(?: not\b|n['’]?t\b)|n['’]est pas|"
    r"是错|是不对|不正确|不对|ではな|ist nicht)",
    re.IGNORECASE,
)
_OTHERS_WORDS = re.compile(  # what the reply says that the question says
    r"\b(?:question|premise|assum\w*|suppos\w*|you (?:say|said|claim|mention|write|think)\w*|frage|annahme|prämisse|"
    r"prémisse|pregunta|premisa)\b|问题|前提|你说|質問",
    re.IGNORECASE,
)
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()


class Stated(NamedTuple):
    """Places of the first time that a reply states, rejects a value; None: it does not."""

    states: int | None
    rejects: int | None


def stated_values(reply: str, values: tuple[str, str]) -> tuple[Stated, Stated]:
    """What a reply does with each of two values. What it says that the question says, it rejects."""
    found: list[dict[str, int]] = [{}, {}]
    order = sorted((0, 1), key=lambda i: -len(values[i]))  # "cosine with restarts" is no "cosine"
    patterns = {i: _value_pattern(values[i]) for i in order}
    start = 0
    for sentence in reply_sentences(_joined_digits(reply)):
        for offset, clause in _clauses(sentence):
            taken: list[tuple[int, int]] = []
            for i in order:
                for match in patterns[i].finditer(clause):
                    if any(match.start() < end and begin < match.end() for begin, end in taken):
                        continue
                    taken.append(match.span())
                    name = _stance(clause, match.start(), match.end(), sentence)
                    if name:
                        found[i].setdefault(name, start + offset + match.start())
        start += len(sentence) + 1
    first, second = (Stated(one.get("states"), one.get("rejects")) for one in found)
    return first, second


def _clauses(sentence: str) -> list[tuple[int, str]]:
    places = [0, *(match.end() for match in _BREAKS.finditer(sentence)), len(sentence)]
    return [(a, sentence[a:b]) for a, b in pairwise(places) if sentence[a:b].strip()]


def _stance(clause: str, start: int, end: int, sentence: str) -> str | None:
    before, after = clause[:start], clause[end:]
    before = re.sub(r"^\s*(?:no|nope|non|nein)\b(?=\s+(?:it|this|that|the|they|ce)\b)", "", before, flags=re.I)
    negated = len(_REJECTS_AFTER.findall(before)) + bool(_REJECTS_BEFORE.search(after))
    if sentence.rstrip("\"'”").endswith(("?", "？")):
        return None
    return "rejects" if negated % 2 or _OTHERS_WORDS.search(before) else "states"


def _joined_digits(text: str) -> str:
    """Digits in groups as one number: "1,000" and "1 000" -> "1000"."""
    return re.sub(r"(?<=\d)[,\u00a0\u202f'’ ](?=\d{3}(?!\d))", "", text)


def _value_pattern(value: str) -> re.Pattern[str]:
    """The value as a word of its own, in any case; a number in figures and, if small, in words."""
    value = _joined_digits(value.strip().strip("\"'`"))
    forms = [re.escape(value)]
    if re.fullmatch(r"\d+(?:\.0+)?", value):
        number = int(float(value))
        forms += [rf"{number}(?:\.0+)?", *(_SMALL[number : number + 1])]
    elif re.fullmatch(r"\d*\.\d+", value):
        forms.append(re.escape(value.rstrip("0").removeprefix("0")).replace(r"\.", r"0?\.", 1) + "0*")
    elif value.lower() in _SMALL:
        forms.append(str(_SMALL.index(value.lower())))
    before = rf"(?<![^\W{_UNSPACED}])(?<!\d\.)(?<!\d[,-])(?<!-)" if re.match(r"\w", value) else ""
    after = rf"(?![^\W{_UNSPACED}]|\.\d|-\w)" if re.search(r"\w$", value) else ""
    return re.compile(f"{before}(?:{'|'.join(forms)}){after}", re.IGNORECASE)
