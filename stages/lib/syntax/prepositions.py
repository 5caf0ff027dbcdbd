"""The questions that ask for a phrase behind a preposition: by whom, in how many, when, where, of what."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stages.lib.syntax.clauses import Clause, is_person, said, subtree
from stages.lib.syntax.kinds import Kind
from stages.lib.syntax.words import BEGINNING, DEMONSTRATIVES, MONTHS, NOT_COUNTED, PASSIVE, PLACED, TAKING, WRITING

if TYPE_CHECKING:
    from spacy.tokens import Token


def of_preposition(clause: Clause, child: "Token", words: "list[Token]", denied: bool) -> Iterator[tuple[str, Kind]]:
    """What asks for a phrase (`words`) that begins with a preposition (`child`), by preposition, verb and noun."""
    word = child.lower_
    noun = next((t for t in child.children if t.dep_ in ("pobj", "pcomp")), None)
    if word in ("because", "due") or said(words).lower().startswith(("thanks to", "as a result of")):
        yield f"Why {clause.inverted(words)}", "cause"
    elif noun is None:
        return
    elif word == "by" and noun.dep_ == "pcomp" and not denied and clause.verb.lemma_ not in BEGINNING:
        yield f"How {clause.inverted(words)}", "way"
    elif noun.left_edge.lower_ in DEMONSTRATIVES:
        return
    elif word == "by" and child.dep_ == "agent" and noun.pos_ in ("NOUN", "PROPN"):
        person = is_person(noun) or (noun.pos_ == "PROPN" and clause.verb.lemma_ in WRITING)
        yield f"{'Who' if person else 'What'} {clause.inverted(words, 'by')}", "name"
    elif word in ("in", "on", "during", "after", "before", "since", "until", "by", "at") and is_time(noun):
        yield from of_time(clause, words)
    elif word in ("in", "at", "near") and noun.ent_type_ in ("GPE", "LOC", "FAC") and noun.pos_ == "PROPN":
        yield f"Where {clause.inverted(words)}", "place"
    elif word in ("in", "on", "at", "under", "from") and clause.verb.lemma_ in PLACED and child.i > clause.verb.i:
        if clause.front in ("is", "are", "can", "was", "were"):
            yield f"Where {clause.inverted(words)}", "place"
    elif noun.dep_ == "pobj" and child.i > clause.verb.i and (counted := _counted(noun)) and not denied:
        yield f"{word} how many {counted} {clause.inverted(words)}", "number"
    elif child.i > clause.verb.i and not denied:
        named = clause.head.dep_ == "nsubjpass" and noun.pos_ == "PROPN" and word in PASSIVE
        named = named and noun.text not in clause.subject_text
        if named or (clause.verb.lemma_, word) in TAKING:
            yield from of_object_of(clause, child)


def _counted(noun: "Token") -> str:
    """The rest of "in 3 stages": "stages"; "" for what is not counted."""
    number = next((t for t in noun.children if t.dep_ == "nummod"), None)
    if number is None or noun.tag_ != "NNS" or noun.lower_ in NOT_COUNTED or number.ent_type_ not in ("CARDINAL", ""):
        return ""
    if number.lower_ == "one" or any(t.dep_ == "conj" for t in noun.children):
        return ""
    return said(noun.subtree, {t.i for t in number.subtree} | before(subtree(noun), number))


def of_time(clause: Clause, words: "list[Token]") -> Iterator[tuple[str, Kind]]:
    """What asks when; nothing where the rest of the clause tells a date, too."""
    if any(t.lower_ in ("next", "same", "following", "previous", "that", "this", "later") for t in words):
        return  # "in May of the next year"
    gone = {t.i for t in words}
    if not any(t.ent_type_ == "DATE" and t.i not in gone for t in clause.verb.subtree):
        yield f"When {clause.inverted(words)}", "time"


def of_object_of(clause: Clause, preposition: "Token") -> Iterator[tuple[str, Kind]]:
    """`SUBJECT consists of X` -> what does SUBJECT consist of."""
    noun = next((t for t in preposition.children if t.dep_ in ("pobj", "pcomp")), None)
    if noun is not None and noun.pos_ != "PRON":
        rest = [t for t in preposition.subtree if t.i != preposition.i]
        last = [t for t in clause.verb.subtree if t.i > rest[-1].i and t.i not in clause.left_out]
        if last and last[0].text == ",":
            rest, last = [*rest, *last], []
        fronted = any(
            t.i < clause.subject[0].i and t.is_alpha for t in clause.verb.subtree if t.i not in clause.left_out
        )
        if all(t.is_punct for t in last) and not fronted:
            yield f"{'Who' if is_person(noun) else 'What'} {clause.inverted(rest)}", "complement"


def is_time(token: "Token") -> bool:
    """Whether a noun's phrase is a date or a time of day."""
    span = list(token.subtree)
    dated = any(t.ent_type_ in ("DATE", "TIME") for t in span)
    return dated and bool(re.search(rf"\d|{MONTHS}", said(span))) and not any(t.dep_ == "relcl" for t in span)


def before(words: "list[Token]", number: "Token") -> set[int]:
    """The places of determiners and words like "about" before a number."""
    return {t.i for t in words if t.i < number.i}
