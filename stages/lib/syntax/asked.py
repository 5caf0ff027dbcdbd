"""The questions that a parsed English sentence answers: one for each of its phrases that can be asked for.

Causes, purposes, conditions, times, places, ways, numbers, definitions, names, effects, instructions. A question that
leans on what is not in it (a pronoun, "this", "the following") is none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.lib.syntax.clauses import SUBJECTS, Clause, is_person, joined, main_clause, said, subtree, within
from stages.lib.syntax.hanging import hangs, is_of_then, is_owned_by_none
from stages.lib.syntax.instructions import asked_of_instruction, is_instruction
from stages.lib.syntax.kinds import WORTH, Kind
from stages.lib.syntax.prepositions import before, is_time, of_object_of, of_preposition, of_time
from stages.lib.syntax.standing_alone import (
    LEAST_NAMED,
    fits,
    is_of_a_story,
    is_of_names,
    is_of_things,
    naming_words,
    unnamed,
)
from stages.lib.syntax.words import (
    BEGINNING,
    CAUSING,
    DEMONSTRATIVES,
    LETTING,
    LIGHT,
    MARKS,
    MEANT,
    NOT_COUNTED,
    PEOPLE,
    PLANS,
    SAYING,
    SHOWING,
    TAKING,
    THINKING,
)

if TYPE_CHECKING:
    from spacy.tokens import Span, Token


_NO_PURPOSE = frozenset({"need", "want", "try", "be"} | BEGINNING)  # verbs whose "to" is no purpose
_NO_DEFINITION = frozenset(
    "reason result part case problem issue matter".split()
)  # what something is beside what it is
_PERSONAL = frozenset("he she his himself herself".split())


@dataclass(frozen=True)
class Asked:
    """A question on a sentence."""

    text: str  # without its question mark
    head: str  # its first words up to the end of its subject; "" where it has none before its verb
    kind: Kind
    worth: float  # beside others; higher is better
    thin: bool  # it names little: what its text is about makes it clearer
    vague: bool  # without that it means nothing ("the model")


def questions(sentence: "Span", named: str = "") -> list[Asked]:
    """The questions that a sentence answers, best first; may be empty.

    Args:
        sentence: parsed, with a root.
        named: what its subject is, where that is a pronoun: the subject of the sentence before.
    """
    found: dict[str, Asked] = {}
    clause = main_clause(sentence)
    for wording, kind in _questions(sentence, clause, named):
        text = wording[:1].upper() + wording[1:]
        if fits(text, sentence, named):
            names = len(naming_words(text, sentence))
            if kind == "instruction":
                names = len(naming_words(text, sentence, things=True))
            thin = names + bool(named) < (1 if kind == "definition" else LEAST_NAMED)
            vague = _is_vague(text, kind, sentence, clause, named)
            worth = WORTH[kind] + 0.15 * min(names, 5) - 0.08 * max(0, len(text.split()) - 13)
            worth = round(worth - 0.5 * thin - 0.8 * vague, 3)
            found.setdefault(text.lower(), Asked(text, _head(text, clause, named), kind, worth, thin, vague))
    return sorted(found.values(), key=lambda asked: -asked.worth)


def _is_vague(text: str, kind: Kind, sentence: "Span", clause: Clause | None, named: str) -> bool:
    """Whether a question only means something where its sentence stands."""
    if is_of_a_story(text, clause.subject if clause else [], sentence):
        return True
    if clause is not None and is_of_then(clause, alone=not is_of_names(text, sentence)):
        return True
    if kind in ("object", "effect") and not is_of_things(text, sentence):
        return True
    if text.startswith(("What happens", "What happened")):
        return False  # its subject is in the answer alone
    return clause is not None and not named and unnamed(clause.subject_text, sentence)


def _head(text: str, clause: Clause | None, named: str) -> str:
    begun = joined([clause.front, named or clause.subject_text]) if clause is not None else ""
    place = text.find(begun) if begun else -1
    return text[: place + len(begun)] if place > 0 else ""


def subject_of(sentence: "Span") -> str:
    """What a sentence is about, to name the next one's "it"; "" where that is not plain."""
    clause = main_clause(sentence)
    if clause is None or clause.head.pos_ == "PRON" or not naming_words(clause.subject_text, sentence):
        return ""
    bare = len(clause.subject) == 2 and clause.subject[0].lower_ == "the"  # "the book": which?
    return clause.subject_text if len(clause.subject) <= 5 and not bare else ""


def _questions(sentence: "Span", clause: Clause | None, named: str) -> Iterator[tuple[str, Kind]]:
    if clause is None or clause.head.lower_ in ("you", "we"):
        if is_instruction(sentence):
            yield from ((text, "instruction") for text in asked_of_instruction(sentence))
        return
    subject = clause.head
    if subject.dep_ == "expl":
        yield from _of_existence(clause)
        return
    yield from _of_condition(clause)
    if hangs(clause) or any(token.dep_ == "det" and token.lower_ in DEMONSTRATIVES for token in clause.subject):
        return
    if subject.pos_ == "PRON" or subject.lower_ in ("this", "that", "these", "those"):
        if not named or subject.lower_ not in ("it", "they", "he", "she"):
            return
        clause = Clause(clause.verb, clause.subject, clause.front, clause.base, clause.moved, clause.left_out, named)
    denied = any(t.dep_ == "neg" for t in clause.verb.children)
    for child in clause.verb.children:
        if child.i not in clause.left_out:
            yield from _of_phrase(clause, child, denied)
    if subject.pos_ != "PRON" and not denied:
        yield from _of_whole(clause)


def _of_condition(clause: Clause) -> Iterator[tuple[str, Kind]]:
    """`If CONDITION, MAIN` -> what happens; `MAIN if CONDITION` -> when."""
    for child in clause.verb.children:
        mark = _mark(child)
        if child.dep_ != "advcl" or mark not in ("if", "when", "whenever", "unless", "once", "until"):
            continue
        if child.tag_ != "VBG" and not any(t.dep_ in SUBJECTS for t in child.children):
            continue  # "if not provided": of what?
        if any(t.lower_ == "even" for t in child.children):
            continue  # "even if": no condition
        if child.i < clause.verb.i and mark != "until":
            past = clause.front in ("did", "was", "were", "had") or clause.verb.tag_ == "VBD"
            past = past or (mark in ("when", "once") and child.tag_ == "VBD")
            words = [t for t in child.subtree if t.i not in clause.left_out]
            yield f"What {'happened' if past else 'happens'} {within(words)}", "condition"
        elif _has_date(clause, beside=child):
            continue  # "emerged in the 1970s when": the date is the better answer
        elif child.i > clause.verb.i and clause.head.pos_ != "PRON" and clause.verb.lemma_ != "be":
            yield f"{'Until when' if mark == 'until' else 'When'} {clause.inverted(subtree(child))}", "condition"


def _has_date(clause: Clause, beside: "Token") -> bool:
    """Whether a clause tells when, outside of a phrase of it."""
    within_it = {t.i for t in beside.subtree}
    return any(t.ent_type_ == "DATE" and t.i not in within_it for t in clause.verb.subtree)


def _of_phrase(clause: Clause, child: "Token", denied: bool) -> Iterator[tuple[str, Kind]]:
    """What asks for one phrase beside the verb."""
    words, after = subtree(child), child.i > clause.verb.i
    used = clause.verb.lemma_ == "use" and clause.front in ("is", "are", "was", "were", "can")
    match child.dep_:
        case "advcl" | "xcomp":
            mark = _mark(child)
            as_cause = mark == "as" and after and clause.verb.doc[child.left_edge.i - 1].text == ","
            if mark == "because" or as_cause:
                yield f"Why {clause.inverted(words)}", "cause"
            elif child.dep_ == "xcomp" and clause.verb.lemma_ == "be" and mark == "to" and after:
                yield f"What {clause.inverted(words)}", "object"
            elif child.dep_ == "xcomp" and mark == "to" and after and clause.verb.lemma_ in MEANT and clause.moved:
                if clause.moved.lemma_ == "be":
                    yield joined([f"What {clause.front}", clause.subject_text, clause.verb.text, "to do"]), "purpose"
            elif mark == "to" and after and used:
                yield f"What {clause.inverted(words)} for", "purpose"
            elif clause.head.lemma_ in PLANS and mark == "to":
                return
            elif child.dep_ == "advcl" and mark == "to" and clause.verb.lemma_ not in _NO_PURPOSE:
                yield f"Why {clause.inverted(words)}", "purpose"
            elif child.dep_ == "advcl" and child.lower_ in ("using", "by") and after and not denied:
                yield f"How {clause.inverted(words)}", "way"
            elif child.dep_ == "xcomp" and after and clause.verb.lemma_ in LETTING:
                yield from _of_letting(clause, child)
        case "prep" | "agent":
            yield from of_preposition(clause, child, words, denied)
        case "npadvmod" if is_time(child):
            yield from of_time(clause, words)
        case "dobj" | "attr" | "oprd" if after and not denied:
            yield from _of_noun(clause, child, words)
        case "ccomp" if after and clause.verb.lemma_ in LETTING:
            yield from _of_letting(clause, child)
        case "ccomp" if after and clause.verb.lemma_ in SAYING and _mark(child) in ("that", "") and not denied:
            people = clause.head.tag_ == "NNS" and not any(t.pos_ == "PROPN" for t in clause.verb.sent)
            if len(naming_words(clause.subject_text, clause.verb.sent)) >= 1 and not people:
                yield f"What {clause.inverted(words)}", "statement"
        case "ccomp" if after and not denied and clause.verb.lemma_ in SHOWING and _asks(child, clause):
            yield f"What {clause.inverted(words)}", "object"
        case "ccomp" if after and clause.verb.lemma_ == "be" and _mark(child) == "that" and not denied:
            yield f"What {clause.inverted(words)}", "statement"
        case "acomp" if after and not denied:
            for part in child.children:
                if part.dep_ == "prep" and (child.lower_, part.lower_) in TAKING:
                    yield from of_object_of(clause, part)
        case _:
            pass


def _asks(told: "Token", clause: Clause) -> bool:
    """Whether a clause behind the verb tells how, what, which, where or whether, up to the sentence's end."""
    ends = all(t.is_punct for t in clause.verb.subtree if t.i > told.right_edge.i)
    return ends and told.left_edge.lower_ in ("how", "what", "which", "where", "whether", "who", "when")


def _of_noun(clause: Clause, child: "Token", words: "list[Token]") -> Iterator[tuple[str, Kind]]:
    lemma = clause.verb.lemma_
    number = next((t for t in child.children if t.dep_ == "nummod"), None)
    if child.pos_ == "PRON" or child.lower_ in NOT_COUNTED or is_owned_by_none(words, clause):
        return
    if any(t.dep_ in ("det", "amod") and t.lower_ in DEMONSTRATIVES for t in child.children):
        return
    if number is not None and child.tag_ == "NNS" and number.ent_type_ in ("CARDINAL", "QUANTITY", ""):
        if number.lower_ != "one" and not any(t.dep_ == "conj" for t in child.children):
            counted = said(words, {t.i for t in number.subtree} | before(words, number))
            yield f"How many {counted} {clause.inverted(words)}", "number"
        return
    if lemma == "bear" or child.lemma_ in _NO_DEFINITION:
        return
    if child.dep_ == "oprd" and lemma in ("call", "name", "term"):
        yield f"What {clause.inverted(words)}", "name"
    elif child.dep_ == "attr":
        described = any(t.dep_ in ("relcl", "prep", "acl", "amod", "compound", "conj") for t in child.children)
        described = described and not any(t.lower_ == "such" for t in words) and not _says_role(clause)
        person = is_person(clause.head)
        if child.pos_ == "NOUN" and described and len(clause.subject) <= 8 and lemma == "be" and not clause.base:
            if clause.moved is not None and clause.moved.lemma_ == "be":
                yield f"{'Who' if person else 'What'} {clause.front} {clause.subject_text}", "definition"
            else:
                yield f"{'Who' if person else 'What'} {clause.inverted(words)}", "definition"
        elif child.pos_ in ("PROPN", "NUM") and lemma == "be" and len(clause.subject) > 1:
            yield f"{'Who' if is_person(child) else 'What'} {clause.inverted(words)}", "object"
    elif child.dep_ == "dobj" and lemma not in LIGHT and child.pos_ in ("NOUN", "PROPN"):
        kind: Kind = "effect" if lemma in CAUSING else "object"
        person = is_person(child) or child.lower_ in PEOPLE
        yield f"{'Who' if person else 'What'} {clause.inverted(words)}", kind


def _says_role(clause: Clause) -> bool:
    """Whether a clause tells what a place was in a story, and not what it is."""
    return clause.front == "was" and clause.head.ent_type_ in ("GPE", "LOC", "NORP")


def _of_letting(clause: Clause, child: "Token") -> Iterator[tuple[str, Kind]]:
    """`SUBJECT allows you to VERB` -> what does SUBJECT allow you to do."""
    doer = next((t for t in child.children if t.dep_ == "nsubj"), None)
    doer = doer or next((t for t in clause.verb.children if t.dep_ == "dobj"), None)
    if (
        doer is None
        or _mark(child) != "to"
        or (doer.pos_ == "PRON" and doer.lower_ not in ("you", "us"))
        or doer.lower_ in ("many", "some")
    ):
        return
    who = "you" if doer.lower_ == "us" else said(doer.subtree)
    yield joined([f"What {clause.front}", clause.subject_text, clause.base or clause.verb.text, who, "to do"]), "effect"


def _of_whole(clause: Clause) -> Iterator[tuple[str, Kind]]:
    """What asks for the subject."""
    head, verb = clause.head, clause.verb
    after = [t for t in verb.subtree if t.i > verb.i and t.i not in clause.left_out]
    content = [t for t in after if t.pos_ in ("NOUN", "PROPN", "ADJ", "NUM")]
    number = next((t for t in head.children if t.dep_ == "nummod" and t.lower_ != "one"), None)
    if len(content) < 2 or verb.lemma_ in ("seem", "appear", "mean", "refer", "include"):
        return
    if any(t.text in {s.text for s in clause.subject if s.pos_ in ("NOUN", "PROPN")} for t in after):
        return
    if number is not None and head.tag_ == "NNS" and number.ent_type_ == "CARDINAL":
        words = said(clause.subject, {t.i for t in number.subtree} | before(clause.subject, number))
        yield f"How many {words} {clause.predicate(finite=True)}", "number"
    elif verb.lemma_ != "be" and any(map(is_person, (head, *head.conjuncts))):
        yield f"Who {clause.asked_by_subject()}", "name"
    elif verb.lemma_ in CAUSING and not clause.front.startswith("c"):
        yield f"What {clause.asked_by_subject()}", "cause"
    elif verb.lemma_ != "be" and head.pos_ in ("NOUN", "PROPN") and len(content) >= 3:
        told = any(t.dep_ == "ccomp" for t in verb.children) and head.lower_ in ("research", "studies", "statistics")
        if not unnamed(clause.subject_text, verb.sent) and not told and not is_of_then(clause):
            person = (
                head.lower_ in PEOPLE
                or any(t.text == "&" for t in clause.subject)  # "Posig & Kickul": authors
                or (head.ent_type_ == "NORP" and head.tag_ in ("NNPS", "NNS"))  # "Republicans"
                or verb.lemma_ in THINKING
                or (head.pos_ == "PROPN" and _does_as_person(clause, after))
            )
            yield f"{'Who' if person else 'What'} {clause.asked_by_subject()}", "subject"


def _does_as_person(clause: Clause, after: "list[Token]") -> bool:
    """Whether a name's verb, or a pronoun behind it, shows a person where the parser saw none."""
    return clause.verb.lemma_ in SAYING or any(t.lower_ in _PERSONAL for t in after)


def _of_existence(clause: Clause) -> Iterator[tuple[str, Kind]]:
    """`There are three kinds of X` -> how many kinds of X are there."""
    noun = next((t for t in clause.verb.children if t.dep_ in ("attr", "nsubj", "dobj") and t.i > clause.verb.i), None)
    number = next((t for t in noun.children if t.dep_ == "nummod"), None) if noun is not None else None
    if noun is not None and number is not None and clause.verb.lemma_ == "be" and number.lower_ != "one":
        words = said(noun.subtree, {t.i for t in number.subtree} | before(subtree(noun), number) | clause.left_out)
        if "," not in words:
            yield f"How many {words} {clause.front} there", "number"


def _mark(verb: "Token") -> str:
    """What a clause begins with: because, if, to, ...; "" for nothing."""
    for token in verb.children:
        if token.dep_ in ("mark", "advmod") and token.i < verb.i and token.lower_ in MARKS:
            return token.lower_
    return "to" if any(t.dep_ == "aux" and t.lower_ == "to" for t in verb.children) else ""
