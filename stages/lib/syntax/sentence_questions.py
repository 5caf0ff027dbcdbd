"""Sentences -> the questions that they answer. A sentence's "it" is named by the sentence before."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import NamedTuple, Protocol

from stages.lib.syntax.asked import Asked, questions, subject_of
from stages.lib.syntax.hanging import points_elsewhere
from stages.lib.syntax.instructions import is_instruction
from stages.lib.syntax.parser import parsed
from stages.lib.syntax.plain_text import masked, unmasked

# What an illustration or a pointer begins with: nothing that anybody would look up
_SKIPPED = re.compile(
    r"(for (example|instance)|example( \d+)?:|e\.g|imagine|suppose|see |figure |table |welcome)", re.I
)
_POINTING = re.compile(r"^note\b|\b(?:these|this|above|below|following|different|another|other)\b", re.IGNORECASE)
_THIS = re.compile(
    r"\b(?:this|the) (?:model|method|library|dataset|data set|metric|framework|architecture|tokenizer|package|tool)\b",
    re.IGNORECASE,
)
_CAPITAL = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,}\b")
_SMALL = re.compile(r"\b[a-z]{3,}\b")
_PRONOUNS = ("it", "they", "he", "she")


class Found(NamedTuple):
    """What can be asked of a sentence."""

    asked: list[Asked]  # best first
    instructs: bool  # it says what to do


class Sentence(Protocol):
    """A sentence and where it stands; sentences of one text come in order."""

    @property
    def text(self) -> str:
        """Its words."""

    @property
    def paragraph(self) -> int:
        """The number of its paragraph in its text."""

    @property
    def number(self) -> int:
        """Its number in the paragraph."""


def questions_of(texts: Iterable[Sequence[Sentence]], subjects: Iterable[str] = ()) -> Iterator[list[Found]]:
    """For each text, for each of its sentences, the questions that it answers.

    Args:
        texts: their sentences.
        subjects: what a sentence's "this model" is, text by text; "" where that is not known.
    """
    kept = list(texts)
    plain = [
        masked(_begun(sentence.text, subject))
        for sentences, subject in zip(kept, chain(subjects, repeat("")), strict=False)
        for sentence in sentences
    ]
    capitals = _capitals(sentence.text for sentences in kept for sentence in sentences)
    documents = parsed(text for text, _ in plain)
    names_of = iter(plain)
    for sentences in kept:
        before, place = "", (-1, -1)
        found: list[Found] = []
        for sentence in sentences:
            (_, names), document = next(names_of), next(documents)
            spans = list(document.sents)
            follows = place == (sentence.paragraph, sentence.number - 1)
            place = (sentence.paragraph, sentence.number)
            if len(spans) != 1 or _SKIPPED.match(sentence.text) or points_elsewhere(document.text):
                before = ""
                found.append(Found([], False))
                continue
            named = before if follows and spans[0][0].lower_ in _PRONOUNS else ""
            asked = questions(spans[0], named)
            before = unmasked(subject_of(spans[0]), names) or named
            instructs = is_instruction(spans[0]) and not _POINTING.search(sentence.text)
            found.append(Found([*_told(asked, sentence.text, names, capitals)], instructs))
        yield found


def _begun(sentence: str, subject: str) -> str:
    """A sentence on "this model" with the name of its page's subject in that place."""
    return _THIS.sub(f"`{subject}`", sentence, count=1) if subject and _THIS.match(sentence) else sentence


def _told(asked: Iterable[Asked], sentence: str, names: list[str], capitals: frozenset[str]) -> Iterator[Asked]:
    """The questions with their code names and capitals, without definitions that define nothing."""
    first = sentence.split(" ", 1)[0].strip("*_`,.")
    for one in asked:
        text, head = unmasked(one.text, names), unmasked(one.head, names)
        if first in capitals:
            text, head = (re.sub(rf"\b{first.lower()}\b", first, words) for words in (text, head))
        if one.kind != "definition" or not _is_circular(text, sentence):
            yield replace(one, text=text, head=head)


def _is_circular(question: str, sentence: str) -> bool:
    """Whether a sentence says of a thing that it is one: "`citation` is a BibTeX citation of the dataset"."""
    subject = re.escape(re.sub(r"^(?:What|Who) (?:is|are|was|were) (?:an? |the )?", "", question).lower())
    return bool(re.search(rf"\b{subject}\b[^,.;:]*\b{subject}\b", sentence.lower().replace("`", "")))


def _capitals(texts: Iterable[str]) -> frozenset[str]:
    """The words that have a capital within these sentences and never lack it: names, at a sentence's beginning too."""
    high: set[str] = set()
    low: set[str] = set()
    for text in texts:
        high.update(_CAPITAL.findall(text))
        low.update(_SMALL.findall(text))
    return frozenset(word for word in high if word.lower() not in low)
