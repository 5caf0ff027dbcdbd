"""Questions that take something for granted, false or true in the same forms, by rule, and their answers.

A fact of the text is changed in one place: a parameter's default, a parameter's name, or what statement_changes.py
changes of a statement. A correction denies the premise and quotes the statement; a confirmation quotes it. Each
question is made once with the changed statement and once with the true one, in forms that can be answered in both
cases, so that a model has to read the text. Which of them are taken is decided in premise_pairs.py. The rules are
English.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from stages.lib.answers.statements import holds
from stages.lib.chats.entries import default_value, instead_of_none, other_value, parameter_name
from stages.lib.chats.qa_items import Change, QAItem
from stages.lib.chats.refusals import variant
from stages.lib.chats.statement_changes import StatementChange, is_in_text, statement_changes
from stages.lib.core.params import fill
from stages.lib.english.facts import pick_facts, sentences
from stages.lib.english.verbs import base_form, is_action, third_person
from stages.lib.languages.english_or_not import guess
from stages.lib.reading.documents import Drop
from stages.lib.statistics.drawing import drawn

DEFAULT_QUESTION = "What is the parameter {name}{of}, which defaults to {value}, for?"
PARAMETER_QUESTION = "When should I use the parameter {name}{of}, which {does}?"
# What is asked about a statement: its place or its words, which a true one has, and a false one has not
STATEMENT_QUESTIONS = """
    In which words does the text say that {statement}?
    Where does the text say that {statement}?
    Which sentence says that {statement}?
    How does the text put it that {statement}?
    Can you quote the place that says that {statement}?
    Given that {statement}, what exactly does the text say about it?
    I read that {statement}; what is the sentence that says so?
    What does the text say about the fact that {statement}?
"""

_WHICH = re.compile(
    r"^Which parameter(?P<of> of \S+ [\w.]+)? (?P<does>(?:takes|specifies|decides|is|should|needs)\b.+)\?$"
)
_OF = re.compile(r"\bthe parameter (?P<name>\w+)(?P<of> of \S+ [\w.]+)")
_HEADING = re.compile(r"^[A-Z][A-Z /&]{3,}:\s+")  # of a structured abstract: "RESULTS: "
# Words whose capital is the sentence's own
_CAPITALISED = """
    the a an all both any every each no some most many several one two three if when once unless while although because
    since in to by of at on for from with without during after before among between as under overall our their its it
    this these we they there
"""
_FUNCTION_WORDS = frozenset(_CAPITALISED.split())
STATEMENTS = 5  # of a text that are tried
MAX_STATEMENT_CHARS = 300


@dataclass(frozen=True, kw_only=True)
class Answering:
    """The texts of prompts.yaml that premises are answered with, a variant a line."""

    corrections: str  # {denial} and {evidence}
    confirmations: str  # {evidence}


@dataclass(frozen=True)
class Premise:
    """A question that takes something for granted; about a statement it can be asked in several forms."""

    item: QAItem
    statement: str = ""  # as it stands within the question; "": the question has the only form that there is

    def in_form(self, number: int) -> QAItem:
        """The question in the form of that number, counted in a circle."""
        if not self.statement:
            return self.item
        forms = [line.strip() for line in STATEMENT_QUESTIONS.splitlines() if line.strip()]
        return replace(self.item, question=fill(forms[number % len(forms)], statement=self.statement))


Premises = dict[str, Premise]  # what the question shows of the change -> the question


def false_premises(item: QAItem, parameters: Sequence[str], answering: Answering) -> Premises | Drop:
    """Questions with a false premise on the item's text, one for each show, with their corrections.

    `parameters`: names of parameters of other texts, to ask about the wrong one.
    Drop reasons: `not_english`, `no_fact_to_change` (no rule applies), `change_is_in_the_text`.
    """
    if not is_english(item):
        return Drop(f"false_premise:{item.id}", "not_english", item.question)
    found: Premises = {}
    in_text = None
    for shows, question, denial, change, evidence in _false(item, parameters):
        if change.type in ("default", "parameter") and _stands(item, change.false):
            in_text = Drop(f"false_premise:{item.id}", "change_is_in_the_text", f"{change.true} -> {change.false}")
            continue
        name = f"false_premise:{item.id}:{shows}"
        answer = fill(variant(answering.corrections, name), denial=denial, evidence=evidence)
        found.setdefault(shows, Premise(_premise(name, item, (question, answer), evidence, change)))
    for made in _changes(item):
        if is_in_text(made, item.context):
            detail = f"{made.change.true} -> {made.change.false}"
            in_text = in_text or Drop(f"false_premise:{item.id}", "change_is_in_the_text", detail)
            continue
        name = f"false_premise:{item.id}:{made.shows_false}"
        answer = fill(variant(answering.corrections, name), denial=made.denial, evidence=made.told)
        premise = _premise(name, item, (made.changed, answer), made.told, made.change)
        found.setdefault(made.shows_false, Premise(premise, _inside(made.changed)))
    return found or in_text or Drop(f"false_premise:{item.id}", "no_fact_to_change", item.evidence or item.answer)


def true_premises(item: QAItem, answering: Answering) -> Premises | Drop:
    """The same questions with what the text says, one for each show, with answers that quote it.

    Of statements only those are asked about that could have been changed: with others, what a statement is like would
    tell. Drop reasons: `not_english`, `no_fact_to_ask_with`.
    """
    if not is_english(item):
        return Drop(f"true_premise:{item.id}", "not_english", item.question)
    found: Premises = {}
    for shows, question in _true(item):
        name = f"true_premise:{item.id}:{shows}"
        answer = fill(variant(answering.confirmations, name), evidence=item.evidence)
        found.setdefault(shows, Premise(_premise(name, item, (question, answer), item.evidence, None)))
    for made in _changes(item):
        if is_in_text(made, item.context):
            continue
        name = f"true_premise:{item.id}:{made.shows_true}"
        answer = fill(variant(answering.confirmations, name), evidence=made.told)
        premise = _premise(name, item, (made.said, answer), made.told, None)
        found.setdefault(made.shows_true, Premise(premise, _inside(made.said)))
    return found or Drop(f"true_premise:{item.id}", "no_fact_to_ask_with", item.evidence or item.answer)


def is_english(item: QAItem) -> bool:
    """Whether the rules can be used: code and lists of names, which tell nothing, go with the English."""
    return "other" not in (guess(item.context), guess(f"{item.context}\n{item.question}"))


def _premise(name: str, item: QAItem, asked: tuple[str, str], evidence: str, change: Change | None) -> QAItem:
    return QAItem(
        id=name,
        kind="false_premise" if change else "true_premise",
        source=item.source,
        title=item.title,
        context=item.context,
        question=asked[0],
        answer=asked[1],
        made_by="rules",
        evidence=evidence,
        change=change,
        question_of=item.id,
    )


Found = tuple[str, str, str, Change, str]  # show, question, denial, change, evidence


def _false(item: QAItem, parameters: Sequence[str]) -> Iterator[Found]:
    """What is changed of a parameter's entry."""
    name, default, which = parameter_name(item), default_value(item.evidence), _WHICH.match(item.question)
    if not name:
        return
    of = _of(item.question)
    false = None if not default else instead_of_none(item) if default == "None" else other_value(default, item.id)
    if false is not None and of:
        question = DEFAULT_QUESTION.format(name=name, of=of, value=false)
        denial = f"The parameter {name} does not default to {false}, but to {default}."
        yield _default_show(false), question, denial, Change(type="default", true=default, false=false), item.evidence
    false = _other_parameter(item, name, parameters) if which else None
    if which and false is not None:
        question = PARAMETER_QUESTION.format(name=false, of=which["of"] or "", does=which["does"])
        denial = f"It is {name}, not {false}, that {which['does']}."
        yield "parameter", question, denial, Change(type="parameter", true=name, false=false), item.evidence


def _other_parameter(item: QAItem, name: str, parameters: Sequence[str]) -> str | None:
    """A parameter that the text does not name, drawn by hash."""
    # Most texts name none of them, so that the first drawn will do: to look for each in each text takes hours.
    others = drawn(item.id, (other for other in parameters if other != name))
    return next((other for other in others if not holds(item.context, other)), None)


def _true(item: QAItem) -> Iterator[tuple[str, str]]:
    """The same questions about an entry as it is: show and question."""
    name, default, which = parameter_name(item), default_value(item.evidence), _WHICH.match(item.question)
    if name and default and (of := _of(item.question)):
        yield _default_show(default), DEFAULT_QUESTION.format(name=name, of=of, value=default)
    if name and which:
        yield "parameter", PARAMETER_QUESTION.format(name=name, of=which["of"] or "", does=which["does"])


def _default_show(value: str) -> str:
    """A default by its kind: what is asked about more often in one kind would tell."""
    return f"default {value}" if value in ("True", "False", "None") else "default of a value"


def _stands(item: QAItem, value: str) -> bool:
    # What a text says of True and False in general tells nothing about a default.
    return value not in ("True", "False") and holds(item.context, value)


def _changes(item: QAItem) -> list[StatementChange]:
    """Changes of the item's own evidence, and of other statements of its text; none of parameters' entries."""
    if parameter_name(item):
        return []
    found = list(filter(None, [_negated_action(item)]))
    single = len(sentences(item.evidence)) == 1 and len(item.evidence) <= MAX_STATEMENT_CHARS
    statements = [item.evidence] if single else []
    statements += [fact.text for fact in pick_facts(item.context, STATEMENTS) if not fact.parameter]
    for statement in dict.fromkeys(statements):
        if not statement.rstrip().endswith("?"):
            found += statement_changes(statement, item.context, item.id)
    return found


def _negated_action(item: QAItem) -> StatementChange | None:
    """`Verb object.` about the topic, which "What does TOPIC do?" asks for: TOPIC does not verb object."""
    match = re.match(r"What does (?P<subject>\S.*) do\?$", item.question)
    words = re.sub(r"^\w+ly ", "", item.evidence).split()
    if not match or len(words) < 3 or not is_action(*[word.lower() for word in words[:2]]):
        return None
    base = base_form(words[0].lower()) or words[0].lower()
    rest = " ".join(words[1:]).rstrip(".")
    return StatementChange(
        told=item.evidence,
        said=f"{match['subject']} {third_person(base)} {rest}",
        changed=f"{match['subject']} does not {base} {rest}.",
        change=Change(type="negation", true=words[0], false=f"not {base}"),
        denial=f"{match['subject']} does {base} {rest}."[0].upper() + f"{match['subject']} does {base} {rest}."[1:],
        shows_true="yes",
        shows_false="not",
    )


def _of(question: str) -> str:
    """` of LIBRARY's NAME`, as the question names the topic of its parameter; "" if it does not."""
    match = _OF.search(question) or _WHICH.match(question)
    return (match["of"] or "") if match else ""


def _inside(statement: str) -> str:
    """A sentence as it reads inside another one."""
    statement = _HEADING.sub("", statement.strip()).rstrip(".!")
    return statement[:1].lower() + statement[1:] if statement.split(" ", 1)[0].lower() in _FUNCTION_WORDS else statement
