"""Is the answer what the chunk says about the question? Read off the chunk's own statements, without a model.

Small models cannot tell: to SmolLM2-135M any sentence of the chunk is a likely answer (AUC about 0.4 to 0.7 against
another sentence of it; docs/judging.md). What tells is a comparison within the chunk: the statement that holds the
answer has to fit the question better than the chunk's other statements do.

Parts of the measure, each about 0..1 or -1..1:

- `held`: the share of the answer's content words that its statement holds, 1 where the chunk holds the answer word
  for word; less 1 for each number and name of the answer that its statement does not hold ("8" for "16");
- `place`: the share of the question's words, weighed by their rarity, that the answer's statement holds, less the
  best share of a statement that does not hold the answer;
- `near`: how near the question's words stand to the answer within its statement; only short answers have a place;
- `form`: 1 where a short answer has the form that the question asks for (how many: a number; who: a name), -1 where
  it has not, 0 where the question asks for no form.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.lib.english.facts import readable
from stages.lib.english.text_statements import statements
from stages.lib.english.words import content_words
from stages.lib.judging.validity import JudgedItem

HELD, NEAR, FORM = 8.0, 3.0, 0.3  # weights beside 1 of `place`, chosen on one half of the items of bench.judging
SHORT = 8  # words of an answer that has a place within its statement
HEAD = 0.9  # of a word that stands in the head of a statement's entry
LEAST = 15  # characters of a statement that an answer of several is seen to hold
REACH = 30.0  # characters at which a word counts half as near
_WORD = re.compile(r"[\w.\-]*\w")
_NAMED = re.compile(r"`[^`]+`|[\w.\-]*\w")
_HARD = re.compile(r"`|\d|[._]\w|[a-z][A-Z]|^[A-Z]")
_COUNTS = frozenset(
    "one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred thousand million "
    "billion half third quarter once twice first second no none both".split()
)
_ASKS_NUMBER = re.compile(
    r"\bhow (?:many|much|long|old|large|big|high|far|tall|often|fast)\b|\b(?:what|which) (?:year|number|percentage|"
    r"percent|date|size|share|amount|century|decade|score|ratio)\b|^\s*when\b|\bin (?:what|which) year\b|"
    r"\b(?:default value|by default|maximum|minimum)\b",
    re.IGNORECASE,
)
_ASKS_NAME = re.compile(
    r"\bwho(?:m|se)?\b|\b(?:what|which) (?:person|people|man|woman|country|city|nation|company|team|river|"
    r"state|king|leader|author|language|scientist)\b|^\s*where\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Grounding:
    """The parts of the measure."""

    held: float
    place: float
    near: float
    form: float


def grounding(item: JudgedItem) -> Grounding:
    """The parts for one item."""
    pieces = chunk_pieces(item.context.removeprefix(item.told))
    answer = readable(item.answer).strip(" .\"'")
    own = [i for i, piece in enumerate(pieces) if _overlap(answer, piece.text)]
    held = [_held(answer, piece) for piece in pieces]
    if not own:
        own = [i for i, share in enumerate(held) if share == max(held)]
    whole = _Piece.of(" ".join(pieces[i].text for i in own), " ".join(pieces[i].text_of_heads for i in own))
    weights = _weights(content_words(item.question), pieces)
    fits = [_fit(weights, piece) for piece in pieces]
    best = max(own, key=fits.__getitem__)
    return Grounding(
        held=max(*held, _held(answer, whole)),
        place=fits[best] - max((fit for i, fit in enumerate(fits) if i not in own), default=0.0),
        near=_near(weights, answer, pieces[best].text),
        form=_form(item.question, answer),
    )


@dataclass(frozen=True)
class _Piece:
    """A statement of the chunk."""

    text: str
    text_of_heads: str  # of the entries and items that it belongs to
    words: frozenset[str]  # its own
    heads: frozenset[str]

    @classmethod
    def of(cls, text: str, heads: str = "") -> "_Piece":
        return cls(text, heads, frozenset(content_words(text)), frozenset(content_words(heads)))


def groundedness(item: JudgedItem) -> float:
    """The weighted sum of the parts."""
    parts = grounding(item)
    return HELD * parts.held + parts.place + NEAR * parts.near + FORM * parts.form


def chunk_pieces(text: str) -> list[_Piece]:
    """The statements of a chunk; the whole chunk where it has none."""
    found = statements(text) if text.strip() else []
    made = [(readable(text[one.start : one.end]), readable(" ".join(one.heads))) for one in found]
    return [_Piece.of(*one) for one in made if one[0]] or [_Piece.of(readable(text))]


def _overlap(answer: str, piece: str) -> bool:
    one, other = answer.casefold(), piece.strip(" .\"'").casefold()
    return bool(re.search(rf"(?<!\w){re.escape(one)}(?!\w)", other)) or (len(other) >= LEAST and other in one)


def _held(answer: str, piece: _Piece) -> float:
    """1 where a piece holds the answer, or is a part of it: then `whole` says how much of it the chunk holds."""
    if re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", piece.text, re.IGNORECASE):
        return 1.0
    there = piece.words | piece.heads
    words = content_words(answer)
    share = 0.99 * len(words & there) / len(words) if words else 0.0
    hard = [word for word in _NAMED.findall(answer)[1:] if _HARD.search(word)]
    return share - sum(not content_words(word) <= there for word in hard)


def _weights(asked: set[str], pieces: Sequence[_Piece]) -> dict[str, float]:
    """The question's words that the chunk holds: the fewer statements hold one, the more it tells."""
    counts = {word: sum(word in piece.words for piece in pieces) for word in asked}
    return {word: math.log(1 + len(pieces) / count) for word, count in counts.items() if count}


def _fit(weights: Mapping[str, float], piece: _Piece) -> float:
    total = math.fsum(weights.values())
    shares = (w * (word in piece.words or HEAD * (word in piece.heads)) for word, w in weights.items())
    return math.fsum(shares) / total if total else 0.0


def _near(weights: Mapping[str, float], answer: str, piece: str) -> float:
    found = re.search(re.escape(answer), piece, re.IGNORECASE)
    total = math.fsum(weights.values())
    if found is None or len(answer.split()) > SHORT or not total:
        return 0.0
    nearest: dict[str, float] = {}
    for match in _WORD.finditer(piece):
        distance = max(match.start() - found.end(), found.start() - match.end())
        if distance < 0:
            continue
        for word in content_words(match[0]) & weights.keys():
            nearest[word] = max(weights[word] / (1 + distance / REACH), nearest.get(word, 0.0))
    return math.fsum(nearest.values()) / total


def _form(question: str, answer: str) -> float:
    words = answer.split()
    if not words or len(words) > SHORT:
        return 0.0
    number = bool(re.search(r"\d", answer)) or any(word.lower().strip("s") in _COUNTS for word in words)
    echoed = content_words(answer) and content_words(answer) <= content_words(question)
    if echoed:
        return -1.0
    if _ASKS_NUMBER.search(question):
        return 1.0 if number else -1.0
    if _ASKS_NAME.search(question):
        return 1.0 if any(word[:1].isupper() for word in words) and not answer[:1].isdigit() else -1.0
    return -1.0 if re.fullmatch(r"[\d.,\s]+", answer) else 0.0
