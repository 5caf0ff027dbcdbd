"""Picking factual sentences from a chunk by rule, for generators too small to find one themselves.

A fact is a sentence of prose, or an entry of a parameter list with the first sentence of its
description, that states something specific and can be read on its own. Code, tables,
headings, section labels, cut-off fragments and sentences that point elsewhere ("this", "the
above") are never facts. Written for the English documentation of software: Markdown, Google
and NumPy style docstrings. A sentence is taken as it stands; `start` and `end` give its exact
place in the chunk, `text` is it with collapsed white space and links reduced to their words.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from stages.lib.english.verbs import AUXILIARIES, DEFINITION, THIRD_PERSONS, base_form, is_action

MIN_CHARS, MAX_CHARS = 40, 240

_FENCE = re.compile(r"^\s*(```|~~~)(.*)$")
_LABEL = re.compile(
    r"^\s*(?:<[^>]+>\s*)?\**(args?|arguments|parameters?|params|attributes|returns?|raises|yields?|examples?|usage|"
    r"notes?|see also|references?|warnings?|tips?|todo|inputs?|outputs?|shape|methods|properties)\**\s*:?\s*$",
    re.IGNORECASE,
)
# `name (type, *optional*, defaults to 3): text`, with or without bullet, backticks and bold; `name: text` in lists
_PARAMETER = re.compile(
    r"^\s*(?:[-*+]\s+)?\*{0,2}`?(?P<name>[A-Za-z_][\w.]*)`?\*{0,2}\s*"
    r"(?:\((?P<type>[^\n]*?)\)\s*(?::|--+|—|–)|(?P<bare>:\s|:$|\s--\s))"
)
_RESULTS = re.compile(r"^\s*\**(returns?|raises|yields?)\b", re.IGNORECASE)
_NO_PARAMETER = re.compile(  # what looks like an entry's name and is a type or a remark
    r"^(_|.*\.|[A-Z]\w*(Error|Exception)$|Tensor$|(dict|list|tuple|bool|int|str|float|none|kwargs|args|deprecated|note|"
    r"warning|important|default|defaults|example|paper|tip|todo|returns?|raises|yields?)$)",
    re.IGNORECASE,
)
_SKIPPED_LINE = re.compile(
    r"^\s*(#{1,6}\s|\||\+[-=]|[-=~*_]{3,}\s*$|<|>>>|\.\.\s|:\w+|@|!\[|\$ |import |from \w+ import )"
)
_BULLET = re.compile(r"^\s*(?:[-*+•]|\d{1,2}[.)])\s+")
_SENTENCE_END = re.compile(r"[.!?](?:[)\]\"'`]*)(?=\s+[\"'`(\[*]*[A-Z`\[]|\s*$)")
_BEGINNING = re.compile(r"[\"'(\[*]*[A-Z`]")
_PROSE_END = re.compile(r"[.!:][)\]\"'`*”]*$")
_LICENCE = re.compile(r"\blicen[cs]|\bcopyright", re.IGNORECASE)
_ENDING = re.compile(r"[.!][)\]\"'`*]*$")
_ABBREVIATION = re.compile(
    r"(?:\be\.g|\bi\.e|\betc|\bvs?|\bcf|\bal|\bFig|\bEq|\bSec|\bNo|\bapprox|\bresp|\bDr|\bincl|\bU\.S|\bSt|\bMr|\bMrs|\bJr|\bGen|\bn\.d)\.$"
)
_LINK = re.compile(r"\[([^\]\[]*)\]\([^)\s]*\)|\[(`[^`\]]+`)\]")
_MARKUP = re.compile(r"[~!](?=`)|(?<=`)[~!.](?=\w)|\*\*|(?<!\w)\*(?=\w)|(?<=\w)\*(?!\w)")

_POINTS_ELSEWHERE = re.compile(
    r"^(this|that|these|those|it|its|they|their|them|he|she|such|here|there|see|note|however|therefore|thus|hence|"
    r"otherwise|moreover|furthermore|also|additionally|instead|then|and|but|or|so|similarly|likewise|finally|first|"
    r"second|next|for (example|instance|more|details|a|this|these)|in (this|that|these|such|other|the following|case)|"
    r"as (such|above|before|a result)|to do so|please|let's|we|you|your|i|if so|do not|don't|make sure|"
    r"both|same|one|another|again|alternatively|like|unlike)\b",
    re.IGNORECASE,
)
_POINTS_INSIDE = re.compile(
    r"\b(above|below|following|previous(ly)?|aforementioned|(?<!set )this|these|those|here|the (former|latter)|private|"
    r"deprecated|licen[cs]ed?|copyright)\b|https?:|example:",
    re.IGNORECASE,
)
_EMPTY = """
    the and for with that this from which will are was has its use used using name names value values list dict type
    optional parameter parameters argument arguments additional keyword passed pass should can may whether not any
    all object function call calling model module tensor input inputs config configuration
"""
_EMPTY_WORDS = frozenset(_EMPTY.split())
_CODE = re.compile(r"`[^`]*`")
_NUMBER = re.compile(r"(?<![\w.])\d[\d.,_]*\w{0,3}\b")
_CODE_NAME = re.compile(r"`[^`]+`|\b\w+_\w+\b|\b[a-z]+[A-Z]\w*|\b[A-Z]\w*[a-z]\w*[A-Z]\w*\b")
_ACRONYM = re.compile(r"\b[A-Z][A-Z0-9]{1,}\b")
_PROPER_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+\b")
_CUE = re.compile(
    r"\b(defaults?|only|because|instead of|requires?|must|cannot|can't|never|always|unless|except|raises?|supports?|"
    r"equals?|same as|at (least|most)|maximum|minimum|between|before|after|when|if|whether|without|faster|memory|"
    r"ignored)\b",
    re.IGNORECASE,
)
_CODE_SIGN = re.compile(r"[={}<>|\\;]|\w\(\w*\)\.|::|->|\.\.\.|\$")


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A factual sentence and its exact place in the text it was picked from."""

    text: str  # white space collapsed, links reduced to their words
    start: int  # characters into the chunk's text
    end: int
    leads: bool  # it stands in the text's first paragraph
    parameter: str  # the parameter that the sentence describes; "" in prose
    entry: bool  # the sentence is the head of that parameter's entry: name, type and default, description
    specificity: float  # how much that can be asked about it names; higher is better


@dataclass(frozen=True)
class _Block:
    """Lines that read on: a paragraph, a bullet, or an entry of a parameter list."""

    start: int
    end: int
    parameter: str
    text_start: int  # where the description begins; `start` outside parameter lists
    cut: bool  # runs to the end of the chunk: its last sentence may be cut off


class ProseSentence(NamedTuple):
    """A whole sentence of prose, with its place in the text, and where it stands among its neighbours."""

    text: str  # white space collapsed, links reduced to their words
    start: int  # characters into the text
    end: int
    paragraph: int  # number of its paragraph or list item
    number: int  # within it


def prose_sentences(text: str) -> Iterator[ProseSentence]:
    """The whole sentences of a text's prose, in order: no code, headings, parameter lists, cut ends or licences.

    One that leads to what stands below it ends with a colon; the last one of a list item may end without a sign.
    """
    for paragraph, block in enumerate(_blocks(text)):
        spans = sentences(text, block.text_start, block.end)
        for number, (start, end) in enumerate(spans):
            raw = text[start:end]
            ends = _PROSE_END.search(raw) or (number == len(spans) - 1 and not block.cut and raw[-1].isalnum())
            begins = bool(_BEGINNING.match(raw)) and (number > 0 or _follows_an_end(text, start))
            said = readable(_BULLET.sub("", raw))
            if begins and raw[0] != "(" and ends and 30 <= len(said) <= 400 and not _LICENCE.search(said):
                yield ProseSentence(said, start, end, paragraph, number)


def pick_facts(text: str, limit: int) -> list[Fact]:
    """Returns the `limit` most specific facts of a chunk, best first; ties in reading order. May be empty."""
    facts = sorted(_facts(text), key=lambda fact: (-fact.specificity, fact.start))
    chosen: list[Fact] = []
    for fact in facts:
        if all(fact.text != other.text for other in chosen):
            chosen.append(fact)
    return chosen[:limit]


def sentences(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """The (start, end) of the sentences of text[start:end], without surrounding white space."""
    end = len(text) if end is None else end
    spans = []
    for match in _SENTENCE_END.finditer(text, start, end):
        if _ABBREVIATION.search(text, start, match.start() + 1):
            continue
        spans.append((start, match.end()))
        start = match.end()
    spans.append((start, end))
    return [span for span in (_stripped(text, *span) for span in spans) if span[0] < span[1]]


def readable(text: str) -> str:
    """Collapses white space, reduces Markdown links to their words and drops emphasis marks."""
    text = _LINK.sub(lambda match: match[1] or match[2] or "", text)
    return re.sub(r"\s+", " ", _MARKUP.sub("", text)).strip()


def specificity(fact: str) -> float:
    """How many askable things a sentence names: numbers, code names, acronyms, names, conditions.

    Each kind counts at most twice, so that a list of names does not outrank a statement;
    long sentences lose a little.
    """
    kinds = ((_NUMBER, 1.0), (_CODE_NAME, 1.0), (_ACRONYM, 0.7), (_PROPER_NAME, 0.5), (_CUE, 0.6))
    score = sum(weight * min(len(pattern.findall(fact)), 2) for pattern, weight in kinds)
    return round(score - max(0, len(fact) - 160) / 80, 3)


def entry_specificity(fact: str) -> float:
    """The same of an entry's description; types do not count, a default with a number does.

    Below that of prose by 1: sentences are the better facts.
    """
    head, _, description = fact.partition(":")
    return round(specificity(description) + 0.5 * bool(re.search(r"default\D*\d", head)) - 1, 3)


def _facts(text: str) -> Iterator[Fact]:
    for block in _blocks(text):
        spans = sentences(text, block.text_start, block.end)
        for number, (start, end) in enumerate(spans):
            entry = bool(block.parameter) and number == 0
            begin = block.start if entry else start  # name, type and default belong to an entry's first sentence
            raw = text[begin:end]
            # A fragment's beginning is in the chunk, or the line, before.
            begins = entry or (bool(_BEGINNING.match(raw)) and (number > 0 or _follows_an_end(text, start)))
            cut = block.cut and number == len(spans) - 1
            ends = bool(_ENDING.search(raw)) or (bool(block.parameter) and not cut)
            fact = readable(_BULLET.sub("", raw))
            if begins and ends and (_is_entry(fact, block.parameter) if entry else _is_statement(fact)):
                score = entry_specificity(fact) if entry else specificity(fact)
                yield Fact(
                    text=fact,
                    start=begin,
                    end=end,
                    leads=not re.search(r"\n\s*\n", text[:begin].lstrip()),
                    parameter=block.parameter,
                    entry=entry,
                    specificity=score,
                )


def _is_statement(fact: str) -> bool:
    """Whether a sentence of prose can stand as a fact."""
    if not MIN_CHARS <= len(fact) <= MAX_CHARS or fact.endswith("?"):
        return False
    if _POINTS_ELSEWHERE.search(fact) or _POINTS_INSIDE.search(fact) or _CODE_SIGN.search(_CODE.sub("", fact)):
        return False
    words = fact.rstrip(".!").split()
    if len(words) < 6:
        return False
    known = any(word in AUXILIARIES or word in THIRD_PERSONS for word in words) or is_action(*words[:2])
    return known or any(base_form(word) for word in words[1:5]) or bool(DEFINITION.match(fact))


def _is_entry(fact: str, parameter: str) -> bool:
    """Whether the head of a parameter's entry says more than the parameter's name does."""
    description = fact.partition(":")[2].strip()
    if not MIN_CHARS <= len(fact) <= MAX_CHARS or len(_CODE_SIGN.findall(description)) > 1:
        return False
    if _POINTS_INSIDE.search(description) or _POINTS_ELSEWHERE.search(description):
        return False
    named = set(re.split(r"[_\W]+", parameter.lower()))
    telling = {word for word in re.findall(r"[a-z]{3,}", description.lower()) if word not in _EMPTY_WORDS} - named
    return len(telling) >= 3


def _follows_an_end(text: str, start: int) -> bool:
    """Whether a sentence can begin there, seen from what stands before it."""
    before = text[:start].rstrip()
    return not before or before[-1] in ".:!?`)#*-" or "\n" in text[len(before) : start]


def _blocks(text: str) -> Iterator[_Block]:
    """Splits a text into blocks of prose; code, tables, headings and labels are left out."""
    lines = [(match.start(), match.group()) for match in re.finditer(r"[^\n]*\n?", text) if match.group()]
    fences = [match for _, line in lines if (match := _FENCE.match(line))]
    # A chunk can begin inside a code block: then its first fence closes, and closing fences carry no language.
    in_code = len(fences) % 2 == 1 and not fences[0].group(2).strip()
    in_session = False
    in_results = False  # below `Returns:`, where entries are no parameters
    open_block: tuple[int, str, int, int] | None = None  # start, parameter, text_start, indent
    end = 0
    for start, line in lines:
        bare = line.rstrip()
        indent = len(line) - len(line.lstrip())
        fence = _FENCE.match(bare)
        in_session = bool(bare.strip()) and (in_session or bare.lstrip().startswith((">>>", "$ ")))
        skipped = (
            not bare
            or in_code
            or in_session
            or bool(fence)
            or bool(_LABEL.match(bare))
            or bool(_SKIPPED_LINE.match(bare))
        )
        if fence:
            in_code = not in_code
        if _LABEL.match(bare):
            in_results = bool(_RESULTS.match(bare))
        entry = None if skipped else _PARAMETER.match(bare)
        if entry and entry["bare"] and not (indent >= 2 or bare.lstrip().startswith(("-", "*", "`"))):
            entry = None  # `Note: ...` in running prose
        if entry and (in_results or _NO_PARAMETER.match(entry["name"])):
            skipped, entry = True, None
        bullet = None if skipped or entry else _BULLET.match(bare)
        dedent = open_block is not None and bool(open_block[1]) and indent <= open_block[3]
        if open_block and (skipped or entry or bullet or dedent):
            yield _Block(open_block[0], end, open_block[1], open_block[2], cut=False)
            open_block = None
        if skipped:
            continue
        if open_block is None:
            begin = start + indent
            if entry:
                open_block = (begin, entry["name"], start + entry.end(), indent)
            else:
                after = start + (bullet.end() if bullet else indent)
                open_block = (after, "", after, indent)
        end = start + len(bare)
    if open_block:
        yield _Block(open_block[0], end, open_block[1], open_block[2], cut=end >= len(text.rstrip()))


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
