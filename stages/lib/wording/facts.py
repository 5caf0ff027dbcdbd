"""Whether two texts differ in a fact, by rules that need no language model: its words tell them apart for sure.

A changed word is a fact by itself where it holds a digit, negates or consists of signs. A number in words, a name or
identifier, and a word of the list of those that turn a statement over (before and after, minimum and maximum, days and
weeks) is one where the other text has such a word, too: "Alice" for "Bob", not "the GPU" for "it". The list knows a few
languages; digits, numerals, capitals and signs are known in all. What is left, such as "method" for "function", is for
a judge.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from stages.lib.wording.fact_words import (
    FACT_CHARACTERS,
    FACT_WORDS,
    NEGATING_CHARACTERS,
    NEGATIONS,
    NUMBER_ENDINGS,
    OPPOSITE_PREFIXES,
)
from stages.lib.wording.form import Word, words_of

SHOWN = 6  # changed words of a side that a reason names
INSIDE = frozenset("-'’")  # signs that stand in ordinary words: well-known, don't


def numbers(text: str) -> tuple[str, ...]:
    """The words that hold a digit, in order: texts in which they differ state different facts."""
    return tuple(core for word in words_of(text) if _has_digit(core := _core(word)))


def other_fact(one: str, other: str) -> str | None:
    """The words in which two texts state different facts, for a person to read; None: they differ in wording alone."""
    left, right = words_of(one), words_of(other)
    (forms_left, count_left), (forms_right, count_right) = _cores(one), _cores(other)
    only_left = {form for form, count in count_left.items() if count > count_right[form]}
    only_right = {form for form, count in count_right.items() if count > count_left[form]}
    facts_left = [word for word, form in zip(left, forms_left, strict=True) if form in only_left and is_fact(word)]
    facts_right = [word for word, form in zip(right, forms_right, strict=True) if form in only_right and is_fact(word)]
    if not _told_apart(facts_left, facts_right):
        if turned := opposites(only_left, only_right):
            return _told(*turned)
        moved = list(_changed(left, right, forms_left, forms_right))
        facts_left = [word for part, _ in moved for word in part if is_fact(word)]
        facts_right = [word for _, part in moved for word in part if is_fact(word)]
    if not _told_apart(facts_left, facts_right):
        return None
    return _told([word.written for word in facts_left], [word.written for word in facts_right])


def _told_apart(left: Sequence[Word], right: Sequence[Word]) -> bool:
    return bool(left and right) or any(map(is_fact_alone, (*left, *right)))


def is_fact_alone(word: Word) -> bool:
    """Whether a text without the word states another fact, whatever it has in its place."""
    form = word.form
    if form in NEGATIONS or form.endswith("n't") or not any(map(str.isalpha, word.written)):
        return True
    return any(character in NEGATING_CHARACTERS or _is_numeral(character) for character in form)


def is_fact(word: Word) -> bool:
    """Whether another such word in its place states another fact."""
    form, written = word.form, word.written
    if form in FACT_WORDS or form.endswith("n't") or any(map(_is_fact_character, form)):
        return True
    letters = [character for character in written if character.isalpha()]
    if not letters or any(
        not (character.isalnum() or character in INSIDE or _is_mark(character)) for character in form
    ):
        return True  # signs; a dotted or underlined name, a call, a path
    if any(character.isupper() for character in written[1:]):
        return True  # NASA, PyTorch
    if written[0].isupper() and not word.starts:
        return True  # a name, or a noun in German
    return len(form) > len("fünfzig") - 2 and form.endswith(NUMBER_ENDINGS)


def opposites(left: set[str], right: set[str]) -> tuple[list[str], list[str]] | None:
    """Two words of which one is the other with a prefix that turns it over: supported, unsupported."""
    for some, others, swapped in ((left, right, False), (right, left, True)):
        for word in sorted(some):
            for prefix in OPPOSITE_PREFIXES:
                if word.startswith(prefix) and word[len(prefix) :].lstrip("-") in others:
                    pair = [word], [word[len(prefix) :].lstrip("-")]
                    return pair[::-1] if swapped else pair
    return None


def _changed(
    left: tuple[Word, ...], right: tuple[Word, ...], forms_left: Sequence[str], forms_right: Sequence[str]
) -> Iterator[tuple[tuple[Word, ...], tuple[Word, ...]]]:
    """The stretches in which the texts differ."""
    start = 0
    while start < min(len(left), len(right)) and forms_left[start] == forms_right[start]:
        start += 1
    matcher = SequenceMatcher(None, forms_left[start:], forms_right[start:], autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag != "equal":
            yield left[start + a : start + b], right[start + c : start + d]


@lru_cache(maxsize=1 << 12)
def _cores(text: str) -> tuple[tuple[str, ...], Counter[str]]:
    """What is compared of the text's words, in order, and how often each is there."""
    forms = tuple(map(_core, words_of(text)))
    return forms, Counter(forms)


def _told(left: list[str], right: list[str]) -> str:
    def shown(words: list[str]) -> str:
        return " ".join(words[:SHOWN]) + (" ..." if len(words) > SHOWN else "") or "nothing"

    return f"{shown(left)} | {shown(right)}"


def _core(word: Word) -> str:
    """A word with a digit without the brackets and quotes around it, which alone are no other number."""
    return word.form.strip("()\"'") if _has_digit(word.form) else word.form


def _has_digit(form: str) -> bool:
    return any(character.isdigit() for character in form)


def _is_fact_character(character: str) -> bool:
    return character in FACT_CHARACTERS or _is_numeral(character)


def _is_numeral(character: str) -> bool:
    """A digit or numeral of any script: 三, ½, Ⅳ."""
    return unicodedata.numeric(character, None) is not None


def _is_mark(character: str) -> bool:
    """A part of a letter: vowel signs of Hindi and Thai, accents, joiners."""
    return unicodedata.category(character) in ("Mn", "Mc", "Cf")
