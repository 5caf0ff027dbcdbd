"""The numbers of an English sentence: which of them can be changed so that the sentence stays plausible, and to what.

Only a plain number is changed: an integer (with or without digit groups) or a decimal, alone or before a per cent sign.
All else that holds digits stays: versions, hexadecimal numbers, dates, times, ordinals, ranges, powers, signs and
errors (`±`), p values, labels ("Table 3", "type 2"), what stands in code, numerals of other scripts. So does what the
sentence ties to its other numbers: sums, differences, shares, products. A new value keeps the form (digits, decimals,
groups, roundness) and the order among the sentence's numbers, so that no part grows beyond its whole.
"""

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from stages.lib.statistics.drawing import fraction_of

Kind = Literal["count", "decimal", "percent", "year"]

LATEST_YEAR = 2025
OLDEST = 100  # years of age
MOST = 1000  # values that are looked at, about
LOW, HIGH, APART = 0.55, 1.8, 0.08  # a new value by the old one: at least, at most, and the least difference
_GROUPS = "\u00a0\u202f\u2009"  # blanks that part digit groups; an ordinary blank may part two numbers
_CHUNK = re.compile(r"[^ \t\n]+")
_CORE = re.compile(rf"(?:\d{{1,3}}(?:,\d{{3}})+|\d{{1,3}}(?:[{_GROUPS}]\d{{3}})+|\d+)(?:\.\d+)?", re.ASCII)
_ANY_NUMBER = re.compile(rf"\d+(?:[,{_GROUPS}]\d{{3}})*(?:\.\d+)?(?P<percent>\s?%| per ?cent)?", re.ASCII)
_OPENS, _CLOSES = "(['\"“‘", ")].,;:'\"”’!"
_TIED = frozenset("= == < > ≤ ≥ <= >= ± + - – — −  × x * ^ / ~ ≈ # p n".split())
_RANGE = frozenset(["to", "through", "until", "till", "vs", "vs.", "versus", "of", "in", "per", *_TIED])
_LABELS = frozenset(
    """
    version release python figure fig fig. figs table section chapter eq eq. equation appendix ref refs reference no no.
    nr number id issue page pages pp pp. type types grade stage phase class level group arm part chromosome exon line
    port rfc iso item question study model factor category code error status step rule level layer channel experiment
    between
    """.split()
)
_MONTHS = re.compile(r"(?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?,?$")
_TIMES = frozenset(
    ["times", "fold", "x", "×", "th", "st", "nd", "rd", "ci", "cis", "confidence", "credible", "sd", "±"]
)
_YEAR_BEFORE = frozenset(["in", "since", "from", "by", "until", "before", "after", "during", "year", "and", "to", "of"])
_YEAR_AFTER = frozenset(["and", "to", "the", "was", "were", "with", "by", "for", "at", "on", "we", "a", "is", "has"])
# The numbers of such a sentence describe each other
_SPREAD = re.compile(
    r"±|\+/-|\b(?:CIs?|SDs?|IQR|SEM?|95% confidence|confidence intervals?|standard deviations?|standard errors?|"
    r"interquartile|ranges?|ranging|ranged)\b"
)
_TOLD = re.compile(
    r"\b(?:twice|half|halves|halved|double[sd]?|tripled?|thirds?|quarters?|ratio|total(?:ling|led)?|sum|altogether|"
    r"difference|remaining|average|mean|sensitivity|specificity)\b|fold\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Number:
    """A plain number of a sentence."""

    text: str
    start: int
    kind: Kind
    age: bool = False

    @property
    def value(self) -> float:
        """What it is worth."""
        return float(re.sub(rf"[,{_GROUPS}]", "", self.text))


@dataclass(frozen=True)
class ChangedNumber:
    """A sentence with another number."""

    statement: str
    kind: Kind
    true: str
    false: str


def changed_numbers(statement: str, name: str) -> list[ChangedNumber]:
    """The sentence once for each number that can be changed, with another value, drawn by hash of `name`."""
    every = list(_all_numbers(statement))
    found = []
    for number in plain_numbers(statement):
        false = _other(number, statement, every, name)
        if false is not None:
            end = number.start + len(number.text)
            told = statement[: number.start] + false + statement[end:]
            found.append(ChangedNumber(told, number.kind, number.text, false))
    return found


def plain_numbers(statement: str) -> list[Number]:
    """The numbers that stand alone, and are no label, no part of a date, a range, a ratio or an error."""
    code = [match.span() for match in re.finditer(r"`[^`]*`", statement)]
    chunks = list(_CHUNK.finditer(statement))
    found = []
    for place, chunk in enumerate(chunks):
        if any(start <= chunk.start() < end for start, end in code):
            continue
        before = chunks[place - 1][0] if place else ""
        after = chunks[place + 1][0] if place + 1 < len(chunks) else ""
        number = _plain(chunk, before, after, first=place == 1, last=place + 1 == len(chunks))
        if number and not _in_range([c[0] for c in chunks], place):
            found.append(number)
    return found


_CONVERTED = re.compile(r"[^\s()]*(?:\s[^\s()\d]+){0,2}\s?\([^()]*\d")  # "10 square miles (26 km2)"


def _plain(chunk: re.Match[str], before: str, after: str, *, first: bool, last: bool) -> Number | None:
    """The chunk's number; None where it is more than a number, or a label or a date with its neighbours."""
    text = chunk[0].lstrip(_OPENS)
    start = chunk.start() + len(chunk[0]) - len(text)
    bare = text.rstrip(_CLOSES)
    percent = bare.endswith("%") or after.startswith("%") or after.lower().startswith(("percent", "per-cent"))
    percent = percent or after.lower() == "per"  # per cent; "per day" is left alone as a range is
    core = bare.removesuffix("%")
    if not _CORE.fullmatch(core) or (core[0] == "0" and core[1:2] not in ("", ".")) or len(core) > 12:
        return None
    bracketed = chunk[0].startswith(("(", "[")) or text.rstrip(".,;:").endswith((")", "]"))
    if bracketed and not bare.endswith("%"):
        return None  # a citation, an enumeration, a value beside another one
    if len(core) == 1 and text[1:2] in (".", ":") and not last:
        return None  # the number of an item of a list
    word = before.lower().strip("(")
    if word in _LABELS or word in _TIED or after.lower().strip("().,;") in _TIMES or after[:1] in tuple("×^±=<>*/"):
        return None
    if not percent and _CONVERTED.match(chunk.string, chunk.end() - len(text) + len(bare)):
        return None
    if word in ("a", "an"):
        return None  # "an 8" becomes no "an 9"
    if _MONTHS.match(before) or _MONTHS.match(after) or re.search(r"^\W*\d.*\d[\W]*$|^\W*\d\W*$", before + " "):
        return None  # a date, or "12 345", which may be one number or two
    if re.match(r"\d", after) and not text[len(bare) :]:
        return None
    # "Windows 10", "CUDA 12.1"; a sentence's first word has a capital anyway
    if before[:1].isupper() and before[-1:].isalnum() and not first:
        return None
    if first and before[:1].isupper() and (before.isupper() or not before.isalpha()):
        return None
    kind: Kind = "decimal" if "." in core else "count"
    ends_clause = text[len(bare) :] != "" or last or after.lower() in _YEAR_AFTER
    if percent:
        kind = "percent"
    elif re.fullmatch(r"1\d\d\d|20\d\d", core):
        if word not in _YEAR_BEFORE or not ends_clause:
            return None  # it may be a year ("the 2019 survey") or not ("2000 users")
        kind = "year"
    age = word in ("aged", "age", "older", "younger", "over", "under") or after.lower().startswith(("year", "yr"))
    return Number(core, start, kind, age)


def _in_range(chunks: Sequence[str], place: int) -> bool:
    """Whether the number and another one are a range, a ratio or a part of a whole: "5 to 10", "52 of the 154"."""
    skipped = ("the", "a", "all", "these", "every", "out", "about")
    for step in (1, -1):
        near = [chunk.lower() for chunk in (chunks[place + 1 :] if step == 1 else chunks[:place][::-1])]
        if step == 1 and re.search(r"[.,;:)]$", chunks[place]):
            continue
        joined = False
        for word in near[:5]:
            if re.search(r"\d", word):
                if joined:
                    return True
                break
            if word in _RANGE:
                joined = True
            elif word not in skipped:
                break
    # between A and B, from A to B
    earlier = [chunk.lower() for chunk in chunks[max(0, place - 3) : place]]
    later = [chunk.lower().rstrip(_CLOSES) for chunk in chunks[place + 1 : place + 3]]
    return "between" in earlier or (later[:1] == ["per"] and later != ["per", "cent"])


@dataclass(frozen=True)
class _Any:
    value: float
    decimals: int
    percent: bool
    start: int


def _all_numbers(statement: str) -> Iterator[_Any]:
    """Every number, whatever it is part of: what a change has to agree with."""
    for match in _ANY_NUMBER.finditer(statement):
        digits = re.sub(rf"[,{_GROUPS}]", "", match[0].removesuffix(match["percent"] or ""))
        yield _Any(float(digits), len(digits.partition(".")[2]), bool(match["percent"]), match.start())


def _other(number: Number, statement: str, numbers: Sequence[_Any], name: str) -> str | None:
    """Another value that agrees with the sentence's other numbers; None where there is none."""
    others = [other for other in numbers if other.start != number.start]
    if number.kind == "year":
        years = [other.value for other in others if 1000 <= other.value <= 2099 and not other.decimals]
        if len(years) > 1:
            return None  # a list of years, or a time within a longer one
        possible = [number.value + step for step in range(-7, 8) if step and number.value + step <= LATEST_YEAR]
        possible = [year for year in possible if _same_order(year, number.value, years)]
        return _drawn_value(sorted(possible), number, name)
    if _SPREAD.search(statement) or (others and _TOLD.search(statement)):
        return None
    alike = [other for other in others if other.percent == (number.kind == "percent")]
    counts = [other for other in numbers if not other.percent and not other.decimals and other.value > 1]
    percents = [other for other in numbers if other.percent]
    bracketed = re.search(r"[(\[]\s?\d[\d.]*\s?%", statement)  # "317 (98%)": the share of a count
    if (percents and counts and (bracketed or len(counts) > 1)) or _is_tied(number, alike, others):
        return None
    possible = [
        value
        for value in _same_form(number)
        if _same_order(value, number.value, [other.value for other in alike])
        and not (number.kind == "percent" and number.value <= 100 < value)
        and not (number.age and number.value <= OLDEST < value)
        and value not in [other.value for other in others]
    ]
    if percents and counts:  # one count: a share of it has to be possible
        decimals = len(number.text.partition(".")[2])
        if number.kind == "percent":
            possible = [value for value in possible if _is_share(value, decimals, counts[0].value)]
        elif number.kind == "count":
            possible = [v for v in possible if all(_is_share(p.value, p.decimals, v) for p in percents)]
    return _drawn_value(possible, number, name)


def _drawn_value(possible: Sequence[float], number: Number, name: str) -> str | None:
    """One of the values, up or down with even chances, in the number's own form."""
    sides = [[value for value in possible if value < number.value], [v for v in possible if v > number.value]]
    sides = [side for side in sides if side]
    if not sides:
        return None
    side = sides[int(fraction_of(f"side {number.text}", name) * len(sides))]
    chosen = side[int(fraction_of(f"value {number.text}", name) * len(side))]
    decimals = len(number.text.partition(".")[2])
    digits = iter(f"{chosen:.{decimals}f}".replace(".", ""))
    return "".join(next(digits) if sign.isdigit() else sign for sign in number.text)


def _same_form(number: Number) -> list[float]:
    """Values near the number with as many digits, as many of them decimals, and as round."""
    decimals = len(number.text.partition(".")[2])
    whole = round(number.value * 10**decimals)
    if whole < 2:
        return []
    if whole < 10:
        near = [whole + step for step in (-2, -1, 1, 2) if 2 <= whole + step <= 9]
        return [value / 10**decimals for value in near]
    if number.kind == "count" and whole >= 16 and whole & (whole - 1) == 0:  # a power of two
        return [float(value) for value in (whole // 2, whole * 2) if len(str(value)) == len(str(whole))]
    zeros = len(str(whole)) - len(str(whole).rstrip("0"))
    five = str(whole).rstrip("0").endswith("5") and len(str(whole)) - zeros > 1
    step = 10**zeros
    if whole // step < 10:
        near = [whole // step + more for more in (-2, -1, 1, 2)]
        return [value * step / 10**decimals for value in near if 1 <= value <= 9]
    first = math.ceil(LOW * whole / step) * step
    stride = max(1, int(HIGH * whole - first) // step // MOST) * 10 + 1  # odd, so that all last digits come
    values = range(first, int(HIGH * whole) + 1, step * (stride if HIGH * whole - first > MOST * step else 1))
    digits = len(re.sub(r"\D", "", number.text).lstrip("0"))
    return [
        value / 10**decimals
        for value in values
        if len(str(value)) == digits
        and abs(value - whole) >= max(step, APART * whole)
        and (value // step) % 10 != 0
        and ((value // step) % 10 == 5) == five
    ]


def _same_order(new: float, old: float, others: Sequence[float]) -> bool:
    return all((new > other) == (old > other) and (new < other) == (old < other) for other in others)


def _is_share(percent: float, decimals: int, count: float) -> bool:
    """Whether so many per cent of so many can be: 98% of 324 can, 97% of 20 cannot."""
    near = percent * count / 100
    return any(abs(100 * part / count - percent) <= 0.5 * 10**-decimals + 1e-9 for part in (int(near), int(near) + 1))


def _is_tied(number: Number, alike: Sequence[_Any], others: Sequence[_Any]) -> bool:
    """Whether the number and others make a sum, a difference, a hundred per cent, a product or a ratio."""
    values = [other.value for other in alike][:10]
    margin = 0.5 * 10 ** -min([len(number.text.partition(".")[2]), *(other.decimals for other in alike)])
    for size in range(1, len(values) + 1):
        for some in itertools.combinations(values, size):
            rest = [value for value in values if value not in some]
            total = sum(some)
            slack = 1e-9 if number.kind == "count" else margin * (size + 1)
            if size > 1 and abs(total - number.value) <= slack:
                return True
            if any(abs(total + number.value - value) <= slack for value in rest):
                return True
            if number.kind == "percent" and abs(total + number.value - 100) <= slack:
                return True
    for first, second in itertools.permutations([other.value for other in others][:10], 2):
        if first > 1 and second > 1 and _are_close(number.value, first * second):
            return True
        if (
            second > 1
            and number.value > 1
            and (_are_close(first, number.value * second) or _are_close(number.value, 100 * first / second))
        ):
            return True
    return False


def _are_close(first: float, second: float) -> bool:
    return abs(first - second) <= 0.01 * max(abs(first), abs(second))
