"""Whether a clause tells a stranger anything: not where it points elsewhere, or hangs on what was said before."""

import re
from typing import TYPE_CHECKING

from stages.lib.syntax.clauses import Clause

if TYPE_CHECKING:
    from spacy.tokens import Token

# A reader is sent elsewhere for the answer
_ELSEWHERE = re.compile(
    r"\b(?:take|have) a (?:closer )?look\b|\bcheck (?:it |them )?out\b|\bhere\b|\blet['’]?s\b|\blet us\b|"
    r"\bthe (?:following|above|below)\b|\bthose (?!who|that|which|of|in|with)\w+|"
    r"\b(?:see|refer to|visit|read|follow|consult) (?:the|this|our|these|their|its) [^.,]*"
    r"\b(?:guides?|pages?|tutorials?|sections?|documentation|docs|links?|examples?|blog|post|paper|readme|course)\b",
    re.IGNORECASE,
)
_BESIDE = frozenset("other another additional further more".split())  # beside what was named before


def points_elsewhere(text: str) -> bool:
    """Whether a sentence sends its reader to another page for the answer."""
    return bool(_ELSEWHERE.search(text))


def hangs(clause: Clause) -> bool:
    """Whether a clause's subject is "other X", or it tells how something named before went on."""
    head = clause.head
    if head.pos_ == "ADJ" or clause.subject[0].lower_ == "one":  # "Reflective of this is X"; "one of the results"
        return True
    if clause.subject[0].lower_ in ("both", "no", "nobody") or any(t.tag_ == "PRP$" for t in clause.subject[:2]):
        return True  # "both groups", "his enterprise"
    if any(t.lower_ in ("below", "above", "following") for t in clause.subject):
        return True
    if clause.subject[0].lower_ == "each" and len(clause.subject) == 2:
        return True  # "each block"
    if any(t.dep_ == "prep" and not any(True for _ in t.children) for t in clause.subject):
        return True  # "the checklist shown in": what was shown there is gone
    if clause.subject[0].tag_ == "VBG" and any(t.text == "," for t in clause.subject) and head.tag_ != "VBG":
        return True  # "Seeking X, Y did ...": no subject
    if any(t.lower_ in _BESIDE and t.dep_ in ("amod", "det") for t in head.children):
        return True
    named = any(t.pos_ == "PROPN" for t in clause.subject)
    return not named and any(t.lower_ == "further" and t.dep_ == "advmod" for t in clause.verb.children)


def is_owned_by_none(words: "list[Token]", clause: Clause) -> bool:
    """Whether an answer is no more than "his ideas", says "their X" of one thing, or "his X" without a person."""
    if len(words) == 2 and words[0].tag_ == "PRP$":
        return True  # "his ideas": which?
    for token in words:
        if token.tag_ != "PRP$":
            continue
        one = clause.head.tag_ in ("NN", "NNP") and not any(t.dep_ == "conj" for t in clause.head.children)
        person = any(t.ent_type_ == "PERSON" or t.pos_ == "PROPN" for t in clause.subject)
        if token.lower_ in ("his", "her") and not person:
            return True
        if token.lower_ == ("their" if one else "its"):
            return True
    return False


def is_of_then(clause: Clause, *, alone: bool = True) -> bool:
    """Whether a clause's subject is "all the recipes" or, in the past, "the two-minute speech": its story tells which.

    `alone`: nothing else that is asked has a name; else it must be "the act", without more.
    """
    if clause.subject[0].lower_ == "all":
        return True
    past = clause.verb.tag_ == "VBD" or clause.front in ("was", "were", "did", "had")
    told = any(t.pos_ in ("PROPN", "NUM") or t.dep_ in ("prep", "relcl", "acl", "poss") for t in clause.subject)
    return past and clause.subject[0].lower_ == "the" and not told and (alone or len(clause.subject) == 2)
