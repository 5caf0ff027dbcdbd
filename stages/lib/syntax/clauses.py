"""The main clause of a parsed English sentence, and its words put into the order of a question.

Syntactic transformation after Heilman and Smith ("Good Question! Statistical Ranking for Question Generation", 2010):
the first auxiliary (or a form of "do") goes before the subject, and the phrase that is asked for is left out.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stages.lib.english.verbs import third_person
from stages.lib.syntax.parser import is_known

if TYPE_CHECKING:
    from spacy.tokens import Span, Token

SUBJECTS = ("nsubj", "nsubjpass", "expl", "csubj")
_DO = {"VBD": "did", "VBZ": "does"}
# Sentence openers that say how a sentence hangs on the one before
_LINKS = frozenset(
    """however therefore thus hence moreover furthermore also additionally finally instead rather then consequently
    nevertheless nonetheless meanwhile indeed similarly likewise still yet and but or so first second third firstly
    secondly typically generally usually often currently now unfortunately fortunately interestingly importantly
    basically simply again overall""".split()
)


@dataclass(frozen=True)
class Clause:
    """A main clause with a subject and a finite verb."""

    verb: "Token"
    subject: "list[Token]"  # its words
    front: str  # the auxiliary that goes before the subject in a question
    base: str  # the verb as it stands behind the subject; "" where it went to the front itself
    moved: "Token | None"  # the auxiliary (or "be") that went to the front
    left_out: "set[int]" = field(default_factory=set)  # places of words that belong to no question
    named: str = ""  # how the subject is named, where it is a pronoun and the sentence before tells

    @property
    def head(self) -> "Token":
        """The subject's noun."""
        return next(token for token in self.verb.children if token.dep_ in SUBJECTS)

    def inverted(self, without: "Iterable[Token]" = (), ending: str = "") -> str:
        """The clause with its auxiliary before its subject, some words left out: "did the war end in 1918".

        `ending`: what stands behind the predicate, before what the sentence began with.
        """
        missing = self.left_out | {token.i for token in without}
        return joined([self.front, self.subject_text, self.predicate(missing, ending=ending)])

    @property
    def subject_text(self) -> str:
        """The subject as it reads within a sentence."""
        return self.named or within(self.subject)

    def predicate(self, missing: Collection[int] = (), *, finite: bool = False, ending: str = "") -> str:
        """What follows the subject, then what stood before it ("In 1861, ..."); `finite`: with the verb as it stood."""
        own = {token.i for token in self.subject}
        gone = self.left_out | set(missing) | own | ({self.moved.i} if self.moved and not finite else set())
        place = min(own, default=self.verb.i)
        words = [token for token in self.verb.subtree if token.i not in gone]
        instead = {} if finite or not self.base else {self.verb.i: self.base}
        before = [token for token in words if token.i < place]
        after = [token for token in words if token.i >= place]
        return joined([said(after, (), instead), ending, within(before)])

    def asked_by_subject(self) -> str:
        """The predicate behind "What" or "Who", its verb in the third person singular: "causes rain"."""
        first = min(
            (t for t in self.verb.children if t.dep_ in ("aux", "auxpass")), key=lambda t: t.i, default=self.verb
        )
        singular = {"are": "is", "were": "was", "have": "has", "do": "does"}.get(first.lower_, first.text)
        if first.i == self.verb.i and first.tag_ == "VBP" and first.lemma_ != "be":
            singular = "has" if first.lemma_ == "have" else third_person(first.lemma_)
        own = {token.i for token in self.subject} | self.left_out
        place = min(token.i for token in self.subject)
        words = [token for token in self.verb.subtree if token.i not in own]
        after = said([token for token in words if token.i >= place], (), {first.i: singular})
        return joined([after, within([token for token in words if token.i < place])])


def main_clause(sentence: "Span") -> Clause | None:
    """The clause that a sentence's root is the verb of; None where it has no subject or is no plain statement."""
    verb = sentence.root
    subject = next((token for token in verb.children if token.dep_ in SUBJECTS), None)
    if verb.pos_ not in ("VERB", "AUX") or subject is None or subject.i > verb.i:
        return None
    if subject.dep_ == "csubj" and (subject.tag_ != "VBG" or subject.left_edge.i != sentence[0].i):
        return None
    if any(child.i < verb.i and child.dep_ in ("ccomp", "parataxis", "dep", "nmod") for child in verb.children):
        return None  # two clauses side by side
    if any(t.dep_ == "conj" and t.i == verb.i + 2 and t.pos_ == "VERB" for t in verb.children):
        return None  # "lived and worked on farms": half of it says nothing
    if any(t.dep_ in ("aux", "auxpass") and t.i < subject.i for t in verb.children):
        return None  # turned round already: "no longer did the pace slow"
    auxiliaries = [t for t in verb.children if t.dep_ in ("aux", "auxpass") and subject.i < t.i < verb.i]
    out = left_out(sentence)
    words = [token for token in subject.subtree if token.i not in out]
    if not words:
        return None  # a subject in brackets: "For [Europeans,] the discovery ..."
    if auxiliaries:
        front = {"ca": "can", "wo": "will", "'s": "is", "’s": "is"}.get(auxiliaries[0].lower_, auxiliaries[0].lower_)
        return Clause(verb, words, front, "", auxiliaries[0], out)
    if verb.lemma_ == "be":
        return Clause(verb, words, verb.lower_, "", verb, out) if verb.lower_ in _BE else None
    if verb.tag_ not in ("VBD", "VBZ", "VBP"):
        return None
    return Clause(verb, words, _DO.get(verb.tag_, "do"), verb.lemma_, None, out)


_BE = ("is", "are", "was", "were")


def left_out(sentence: "Span") -> set[int]:
    """The places of what no question takes over: brackets, links to the sentence before, a second main clause."""
    root, out = sentence.root, set()
    for child in root.children:
        alone = child.lower_ == "however"
        alone = alone or (child.i < root.i and (child.lower_ in _LINKS or said(child.subtree).lower() in _PHRASES))
        if child.dep_ in ("cc", "conj", "parataxis", "intj") and (child.dep_ != "cc" or child.i > root.i):
            alone = True
        if child.dep_ == "advmod" and child.lower_ in _LINKS and child.i < root.i:
            alone = True
        if child.dep_ == "advmod" and child.i < root.i and child.nbor().text == "," and child.pos_ == "ADV":
            alone = True  # "Surprisingly, ...", "Nearly always, ..."
        if child.pos_ == "ADJ" and child.i < root.i and child.dep_ in ("advcl", "acomp", "amod", "oprd"):
            alone = True  # "Fearful of X, ..."
        if child.dep_ == "advcl" and child.tag_ == "VBN" and child.i < root.i and child.i == child.left_edge.i:
            alone = alone or child.lower_ not in ("compared", "based", "given", "provided")  # "Framed by X, ..."
        if alone or (child.dep_ == "cc" and child.i < root.i):
            out |= {token.i for token in child.subtree}
    depth = 0
    for token in sentence:
        depth += token.text in ("(", "[")
        if depth > 0 or token.text in (";",):
            out.add(token.i)
        depth -= token.text in (")", "]") and depth > 0
    return out


_PHRASES = frozenset(
    "for example|for instance|in addition|in fact|in other words|as a result|in general|of course|in contrast|in turn|"
    "on the other hand|by default|in particular|for this reason|in this way".split("|")
)


def subtree(token: "Token") -> "list[Token]":
    """A phrase's words, in order."""
    return list(token.subtree)


def is_person(token: "Token") -> bool:
    """Whether a noun is a person's name; the parser takes many a first word's capital for one ("Severe amnesia is")."""
    return bool(token.ent_type_ == "PERSON" and token.text[:1].isupper())


def said(tokens: "Iterable[Token]", missing: Collection[int] = (), instead: dict[int, str] | None = None) -> str:
    """Words as they stood, blanks where words between them are gone; signs at the edges and twice over go."""
    parts: list[str] = []
    last = None
    for token in tokens:
        if token.i in missing or (token.is_space):
            continue
        if last is not None and (last.whitespace_ if last.i + 1 == token.i else not token.is_punct):
            parts.append(" ")
        parts.append((instead or {}).get(token.i, token.text))
        last = token
    return joined(["".join(parts)])


def joined(parts: Iterable[str]) -> str:
    """Phrases with one blank between them; commas and dashes at their edges go."""
    words = " ".join(part.strip(" ,;:–—-.") for part in parts if part.strip(" ,;:–—-."))
    return " ".join(words.split()).replace(" ,", ",").replace(",,", ",").strip(" ,;:–—-.")


def within(tokens: "Iterable[Token]") -> str:
    """A phrase as it reads within a sentence: its first word without the capital of a beginning."""
    words = [token for token in tokens if not token.is_space]
    first = next((token for token in words if token.is_alpha), None)
    small = first is not None and first.is_sent_start and first.is_title and first.pos_ != "PROPN"
    small = small and first is not None and (first.pos_ == "DET" or (not first.ent_type_ and is_known(first.lower_)))
    if small and first is not None and first.dep_ in ("compound", "amod") and first.i + 1 < len(first.doc):
        small = not first.nbor().is_title  # "Community Impact Guidelines"
    return said(words, (), {first.i: first.lower_} if first is not None and small else None)
