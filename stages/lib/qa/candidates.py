"""The questions that a text's facts allow, found by rule and by parse, the best first; and which of them to try.

Entries of parameter lists are asked for by their openings (openings.py), which a model finishes. Sentences of prose are
asked for whatever their parse shows: causes, purposes, conditions, numbers, definitions (syntax/asked.py). Code and
tables are asked for values (example_questions.py), where no sentence gives a better question.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stages.lib.core.records import Record
from stages.lib.english.facts import Fact, pick_facts, prose_sentences
from stages.lib.english.verbs import THIRD_PERSONS
from stages.lib.english.words import content_words
from stages.lib.qa.example_questions import example_questions
from stages.lib.qa.openings import Opening, openings
from stages.lib.qa.topics import name_library, name_topic, page_subject, topic_name, topic_phrase
from stages.lib.syntax.headings import questions_of_headings
from stages.lib.syntax.sentence_questions import questions_of
from stages.lib.syntax.terms import question_of_heading, question_of_origin, question_of_term

RULE_WORTH = 2.0  # of an opening by rule, beside questions by parse
HEADING_WORTH = 2.1  # of a question that a heading asks
NAMED_WORTH = 2.3  # of what a term means that a sentence names, and of who proposed what
RULE_SPECIFICITY = 0.15  # worth of each point of its fact's specificity
BROAD_LOSS = 0.6  # worth that a fact loses when all that can be asked is what its topic does
HEADING_SHARE = 0.5  # of the words of a heading's question, that stand in the instruction which answers it
LEAK = 0.85  # a question with this share of its sentence's content words is a near-copy


@dataclass(frozen=True)
class Candidate:
    """A fact, and the words that a question about it begins with, or the whole question."""

    fact: Fact
    opening: Opening
    worth: float
    question: str = ""  # with its mark and its topic; "": the model finishes the opening
    of_example: bool = False  # it asks for a value in code or a table

    @property
    def kind(self) -> str:
        """What stands first: the question's first two words."""
        return " ".join(self.opening.text.split()[:2])


def candidates(chunks: Sequence[Record], limit: int) -> list[list[Candidate]]:
    """The questions to try on each text, at most `limit`, best first; those of one fact stand apart."""
    sentences = [list(prose_sentences(chunk["text"])) for chunk in chunks]
    headings = [str(chunk.get("heading", "")).rpartition(" > ")[2] for chunk in chunks]
    subjects = [page_subject(str(chunk["source"]), str(chunk.get("heading", ""))) for chunk in chunks]
    found = []
    for chunk, own, parsed, of_heading in zip(
        chunks, sentences, questions_of(sentences, subjects), questions_of_headings(headings), strict=True
    ):
        planned, told = _by_rule(chunk), False
        in_docstring = "==" in str(chunk["source"])
        for sentence, (questions, instructs) in zip(own, parsed, strict=True):
            fact = _fact(sentence.text, sentence.start, sentence.end)
            if (
                of_heading and instructs and not told
            ):  # the first instruction below a heading tells how to do what it names
                question = with_topic(f"{of_heading}?", chunk, thin=False, vague=False)
                if not _is_copy(question, sentence.text, topic_of(chunk)) and _is_told_how(of_heading, sentence.text):
                    planned.append(Candidate(fact, Opening(of_heading, whole=True), HEADING_WORTH, question))
                told = True
            for one in questions:
                if in_docstring and not _of_docstring(sentence.text, one.text):
                    continue
                if one.text.startswith(("What should you", "What can you")) and sentence.text.endswith(":"):
                    continue  # what to do is code that follows
                wording = re.sub(r"^Who\b", "What", one.text) if topic_name(str(chunk["source"]))[0] else one.text
                question = with_topic(f"{wording}?", chunk, thin=one.thin, vague=one.vague)
                if question and not _is_copy(question, sentence.text, topic_of(chunk)):
                    opening = Opening(one.head or one.text, whole=True)
                    planned.append(Candidate(fact, opening, one.worth, question))
            before = chunk["text"][: sentence.start]
            named = question_of_term(sentence.text) or question_of_heading(before, sentence.text)
            if named := named or question_of_origin(sentence.text):
                question = with_topic(f"{named}?", chunk, thin=False, vague=False)
                planned.append(Candidate(fact, Opening(named, whole=True), NAMED_WORTH, question))
        for asked in example_questions(chunk):
            fact, opening = _fact(asked.answer, asked.start, asked.end), Opening(asked.question.rstrip("?"), whole=True)
            planned.append(Candidate(fact, opening, asked.worth, asked.question, of_example=True))
        found.append(_best(planned, limit))
    return found


def _fact(text: str, start: int, end: int) -> Fact:
    return Fact(text=text, start=start, end=end, leads=False, parameter="", entry=False, specificity=0.0)


def topic_of(chunk: Record) -> str:
    """How questions on a text name what it is about; "" if they need not."""
    return str(chunk["topic"]) if "topic" in chunk else topic_phrase(chunk["source"])


def with_topic(question: str, chunk: Record, *, thin: bool, vague: bool) -> str:
    """The question with its topic named where it needs that; "" where it needs a topic and there is none."""
    if "topic" in chunk:
        return question
    source = str(chunk["source"])
    if vague and not topic_phrase(source):
        return ""
    return name_topic(question, source) if thin or vague or "==" in source else name_library(question, source)


def _of_docstring(sentence: str, question: str) -> bool:
    """Whether a question is one on a docstring: its summary ("Wraps a ...", "Update the ...") tells nobody to do it."""
    first = sentence.split(" ", 1)[0].strip("`*").lower()
    return first not in THIRD_PERSONS and not question.startswith(("How do you", "What should you pass"))


def _is_told_how(question: str, instruction: str) -> bool:
    """Whether an instruction is on what a heading's question asks: it holds half of its words, none beside its aim."""
    asked = content_words(question)
    aim = re.match(r"(?:in order )?to [^,]+,|(?:if|when|once|after|before) [^,]+,", instruction, re.IGNORECASE)
    if aim is not None and not content_words(aim[0]) & asked:
        return False
    return len(asked & content_words(instruction)) >= HEADING_SHARE * len(asked)


def _by_rule(chunk: Record) -> list[Candidate]:
    planned = []
    for fact in pick_facts(chunk["text"], limit=100):
        for opening in openings(fact, topic_of(chunk), continued=chunk["start"] > 0):
            if fact.parameter or opening.broad:
                loss = BROAD_LOSS if opening.broad else 0.0
                worth = RULE_WORTH + RULE_SPECIFICITY * min(max(fact.specificity, 0.0), 5.0) - loss
                whole = with_topic(f"{opening.text}?", chunk, thin=True, vague=False) if opening.whole else ""
                planned.append(Candidate(fact, opening, round(worth, 3), whole))
    return planned


def _best(planned: Sequence[Candidate], limit: int) -> list[Candidate]:
    """The best question of each fact, then the second ones; sorted stably, so that ties go in reading order."""
    ranked = sorted(planned, key=lambda one: -one.worth)
    chosen: list[Candidate] = []
    for most in (1, 2):
        for one in ranked:
            told = sum(one.fact.text == other.fact.text for other in chosen)
            if one not in chosen and told < most and len(chosen) < limit:
                chosen.append(one)
    return sorted(chosen, key=lambda one: -one.worth)


def _is_copy(question: str, sentence: str, topic: str) -> bool:
    """Whether a question says nearly all that its sentence says."""
    stated = content_words(sentence) - content_words(topic)
    return not stated or len(stated & content_words(question)) / len(stated) >= LEAK
