"""The questions that an instruction answers: `To DO THIS, DO THAT`, `Use X to DO THIS`, `You can use X to DO THIS`."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stages.lib.syntax.clauses import said, subtree, within
from stages.lib.syntax.words import DEMONSTRATIVES

if TYPE_CHECKING:
    from spacy.tokens import Span, Token

_MEANS = ("with", "using", "by", "via", "through")
_ASKED = frozenset("add set pass use install call provide specify define import replace choose include select".split())
_NO_AIM = frozenset("do see learn know be get make find have go ensure avoid help start begin".split())
_NO_ORDER = frozenset("note see remember let check look visit refer read make take feel keep sure consider say".split())
_ELSEWHERE = frozenset("follow see refer visit read look check".split())  # who is told so finds the answer there
_WE = ("you", "we")


def is_instruction(sentence: "Span") -> bool:
    """Whether a sentence tells somebody what to do: an imperative, or what "you" or "we" do."""
    root = sentence.root
    subject = next((t for t in root.children if t.dep_ in ("nsubj", "nsubjpass")), None)
    return (subject is None and root.tag_ in ("VB", "VBP")) or (subject is not None and subject.lower_ in _WE)


def asked_of_instruction(sentence: "Span") -> Iterator[str]:
    """The questions, without their marks."""
    root = sentence.root
    may = any(t.dep_ == "aux" and t.lower_ in ("can", "could", "may") for t in root.children)
    if any(t.dep_ == "neg" for t in root.children) or not root.is_alpha or root.lemma_ in _ELSEWHERE:
        return
    if any(t.dep_ == "aux" and t.lower_ in ("will", "'ll", "’ll") for t in root.children):
        return  # what is to come is no step
    if any(t.dep_ == "dobj" and _shows(t) for t in root.children):
        return  # "use this section to ..."
    how = "How can you" if may else "How do you"
    for child in root.children:
        if child.dep_ in ("advcl", "xcomp") and _begins(child) == "to" and _is_aim(child):
            if child.dep_ == "advcl" or root.lemma_ == "use":
                yield f"{how} {_aim(child)}"
        elif child.dep_ == "advcl" and _begins(child) in ("if", "when") and child.i < root.i:
            yield f"What should you do {within(child.subtree)}"
        elif child.dep_ == "prep" and child.i < root.i and within(child.subtree).startswith("instead of "):
            yield f"What can you do {within(child.subtree)}"
    if root.lemma_ in _NO_ORDER or root.lemma_ in _NO_AIM:
        return
    joined_on = {
        t.i for c in root.children if c.dep_ in ("cc", "conj", "advcl", "parataxis", "ccomp") for t in c.subtree
    }
    words = [t for t in root.subtree if t.i >= root.i and t.i not in joined_on]
    means = next(
        (t for t in root.children if t.lower_ in _MEANS and t.i > root.i and t.dep_ in ("prep", "advcl")), None
    )
    means = means or next((t for t in words if t.lower_ == "using" and t.dep_ in ("advcl", "acl")), None)
    thing = next((t for t in root.children if t.dep_ == "dobj"), None)
    if any(_shows(part) for part in (thing, means) if part is not None):
        return  # "with this mixed attention design"
    if thing is None or thing.pos_ == "PRON" or thing.lower_ in ("look", "note", "care"):
        return
    if means is not None:
        gone = {t.i for t in means.subtree}
        yield f"{how} {_base(said(words, gone), root)}"
    elif root.lemma_ in _ASKED:
        rest = said(words, {t.i for t in subtree(thing)})
        modal = "can" if may else "should"
        if len(rest.split()) >= 4:
            yield f"What {modal} you {_base(rest, root)}"


def _shows(phrase: "Token") -> bool:
    """Whether a phrase points at something with "this" or "those"."""
    return any(t.dep_ == "det" and t.lower_ in DEMONSTRATIVES for t in phrase.subtree)


def _is_aim(clause: "Token") -> bool:
    """Whether a clause of purpose names what is done: "to get a single tensor", not "to get started"."""
    if clause.lemma_ not in _NO_AIM:
        return True
    return clause.lemma_ == "get" and any(t.dep_ == "dobj" and t.pos_ != "PRON" for t in clause.children)


def _aim(clause: "Token") -> str:
    """A clause of purpose without its "to" or "in order to"."""
    words = [t for t in clause.subtree if not (t.head.i == clause.i and t.i < clause.i and t.dep_ in ("aux", "mark"))]
    return re.sub(r"^(in )?order\s+(to )?", "", within(words), flags=re.IGNORECASE)


def _base(words: str, verb: "Token") -> str:
    """The words that begin with a verb, with its base form."""
    first, _, rest = words.partition(" ")
    return f"{verb.lemma_ if first.lower() == verb.lower_ else first.lower()} {rest}"


def _begins(clause: "Token") -> str:
    left = [t for t in clause.children if t.i < clause.i]
    for word in ("if", "when"):
        if any(t.dep_ in ("mark", "advmod") and t.lower_ == word for t in left):
            return word
    return "to" if any(t.dep_ == "aux" and t.lower_ == "to" for t in left) else ""
