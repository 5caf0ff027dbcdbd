"""Sentences -> the questions that they answer. A sentence's "it" is named by the sentence before."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from stages.lib.syntax.asked import Asked, questions, subject_of
from stages.lib.syntax.instructions import is_instruction
from stages.lib.syntax.parser import parsed
from stages.lib.syntax.plain_text import masked, unmasked

# What an illustration or a pointer begins with: nothing that anybody would look up
_SKIPPED = re.compile(
    r"(for (example|instance)|e\.g|note that|imagine|suppose|let['’]?s|see |figure |table |welcome)", re.I
)
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


def questions_of(texts: Iterable[Sequence[Sentence]]) -> Iterator[list[Found]]:
    """For each text, for each of its sentences, the questions that it answers."""
    kept = list(texts)
    plain = [masked(sentence.text) for sentences in kept for sentence in sentences]
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
            if len(spans) != 1 or _SKIPPED.match(sentence.text):
                before = ""
                found.append(Found([], False))
                continue
            named = before if follows and spans[0][0].lower_ in _PRONOUNS else ""
            asked = questions(spans[0], named)
            before = unmasked(subject_of(spans[0]), names) or named
            found.append(Found([_named(one, names) for one in asked], is_instruction(spans[0])))
        yield found


def _named(asked: Asked, names: list[str]) -> Asked:
    return replace(asked, text=unmasked(asked.text, names), head=unmasked(asked.head, names))
