"""Sentences -> the questions that they answer. A sentence's "it" is named by the sentence before."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import NamedTuple, Protocol

from stages.lib.syntax.asked import Asked, questions, subject_of
from stages.lib.syntax.instructions import is_instruction
from stages.lib.syntax.parser import parsed
from stages.lib.syntax.plain_text import masked, unmasked

# What an illustration or a pointer begins with: nothing that anybody would look up
_SKIPPED = re.compile(r"(for (example|instance)|e\.g|imagine|suppose|let['’]?s|see |figure |table |welcome)", re.I)
_POINTING = re.compile(r"^note\b|\b(?:these|this|above|below|following)\b", re.IGNORECASE)
_THIS = re.compile(
    r"\b(?:this|the) (?:model|method|library|dataset|data set|metric|framework|architecture|tokenizer|package|tool)\b",
    re.IGNORECASE,
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
            instructs = is_instruction(spans[0]) and not _POINTING.search(sentence.text)
            found.append(Found([_named(one, names) for one in asked], instructs))
        yield found


def _begun(sentence: str, subject: str) -> str:
    """A sentence on "this model" with the name of its page's subject in that place."""
    return _THIS.sub(f"`{subject}`", sentence, count=1) if subject and _THIS.match(sentence) else sentence


def _named(asked: Asked, names: list[str]) -> Asked:
    return replace(asked, text=unmasked(asked.text, names), head=unmasked(asked.head, names))
