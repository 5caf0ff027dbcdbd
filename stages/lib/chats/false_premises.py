"""Questions that take something for granted that their text contradicts, by rule, and the corrections.

A fact of the text is changed in one place: a parameter's default, a parameter's name, a number, or a yes into a no.
The changed value must not stand in the text, or the premise might be true of something else in it. A correction denies
the premise and quotes the statement.
"""

import math
import re
from collections.abc import Iterator, Sequence

from stages.lib.answers.statements import holds
from stages.lib.chats.entries import NUMBER, default_value, instead_of_none, other_value, parameter_name
from stages.lib.chats.qa_items import Change, QAItem
from stages.lib.chats.refusals import variant
from stages.lib.core.params import fill
from stages.lib.english.facts import pick_facts, sentences
from stages.lib.english.verbs import AUXILIARIES, base_form, is_action
from stages.lib.reading.documents import Drop
from stages.lib.statistics.drawing import drawn

DEFAULT_QUESTION = "What is the parameter {name}{of}, which defaults to {value}, for?"
PARAMETER_QUESTION = "When should I use the parameter {name}{of}, which {does}?"

_WHICH = re.compile(
    r"^Which parameter(?P<of> of \S+ [\w.]+)? (?P<does>(?:takes|specifies|decides|is|should|needs)\b.+)\?$"
)
_OF = re.compile(r"\bthe parameter (?P<name>\w+)(?P<of> of \S+ [\w.]+)")
_CONDITION = re.compile(r"^(?:If|When|Once|Unless|By default|In general|To)\b[^,]*,\s+", re.IGNORECASE)
_NEGATIVE = re.compile(r"\b(no|not|none|never|neither|nor|cannot|without)\b|n't\b", re.IGNORECASE)
# Words whose capital is the sentence's own
_CAPITALISED = """
    the a an all both any every each no some most many several one two three if when once unless while although because
    since in to by of at on for from with without during after before among between as under overall our their its it
    this these we they there
"""
_FUNCTION_WORDS = frozenset(_CAPITALISED.split())
STATEMENTS = 5  # of a text that are tried
MAX_STATEMENT_CHARS = 300
# "has" and "have" are left out: most are no auxiliaries.
_NEGATED = AUXILIARIES - {"has", "have"}


def false_premise(item: QAItem, parameters: Sequence[str], corrections: str) -> QAItem | Drop:
    """A question with a false premise on the item's text, with its correction.

    `parameters`: names of parameters of other texts, to ask about the wrong one.
    Drop reasons: `no_fact_to_change` (no rule applies), `change_is_in_the_text`.
    """
    name = f"false_premise:{item.id}"
    in_text = None
    for found in _found(item, parameters):
        question, denial, change, evidence = found
        # What a text says of True and False in general tells nothing about a default.
        if change.type != "negation" and change.false not in ("True", "False") and holds(item.context, change.false):
            in_text = Drop(name, "change_is_in_the_text", f"{change.true} -> {change.false}")
            continue
        return QAItem(
            id=name,
            kind="false_premise",
            source=item.source,
            title=item.title,
            context=item.context,
            question=question,
            answer=fill(variant(corrections, name), denial=denial, evidence=evidence),
            made_by="rules",
            evidence=evidence,
            change=change,
            question_of=item.id,
        )
    return in_text or Drop(name, "no_fact_to_change", item.evidence or item.answer)


def _found(item: QAItem, parameters: Sequence[str]) -> Iterator["Found"]:
    """What each rule makes of the item, best first: of its own evidence, or of other statements of its text."""
    if parameter_name(item):
        yield from filter(None, (_wrong_default(item), _wrong_parameter(item, parameters)))
        return
    yield from filter(None, (_negated_action(item),))
    single = len(sentences(item.evidence)) == 1 and len(item.evidence) <= MAX_STATEMENT_CHARS
    statements = [item.evidence] if single else []
    statements += [fact.text for fact in pick_facts(item.context, STATEMENTS) if not fact.parameter]
    for rule in (_wrong_number, _negated_statement):
        yield from filter(None, (rule(statement, item.id) for statement in statements))


def true_premise(item: QAItem, confirmations: str) -> QAItem | Drop:
    """A question in the form of a false premise's whose premise is true, so that its form gives nothing away.

    Drop reason: `no_fact_to_ask_with`. Numbers and negations have no such counterpart: "Why is it that ...?" about a
    true statement asks for a reason that no text holds.
    """
    name = f"true_premise:{item.id}"
    parameter, default, which = parameter_name(item), default_value(item.evidence), _WHICH.match(item.question)
    if parameter and which:
        question = PARAMETER_QUESTION.format(name=parameter, of=which["of"] or "", does=which["does"])
    elif parameter and default and (of := _of(item.question)):
        question = DEFAULT_QUESTION.format(name=parameter, of=of, value=default)
    else:
        return Drop(name, "no_fact_to_ask_with", item.evidence or item.answer)
    return QAItem(
        id=name,
        kind="true_premise",
        source=item.source,
        title=item.title,
        context=item.context,
        question=question,
        answer=fill(variant(confirmations, name), evidence=item.evidence),
        made_by="rules",
        evidence=item.evidence,
        question_of=item.id,
    )


Found = tuple[str, str, Change, str]  # question, denial, change, evidence


def _wrong_default(item: QAItem) -> Found | None:
    name, true = parameter_name(item), default_value(item.evidence)
    if not name or not true:
        return None
    false = instead_of_none(item) if true == "None" else other_value(true, item.id)
    of = _of(item.question)
    # Half of the entries with a default are asked about by their name, so that the kinds stay mixed.
    if false is None or not of or (_WHICH.match(item.question) and int(drawn(item.id, ["0", "1"])[0])):
        return None
    question = DEFAULT_QUESTION.format(name=name, of=of, value=false)
    denial = f"The parameter {name} does not default to {false}, but to {true}."
    return question, denial, Change(type="default", true=true, false=false), item.evidence


def _wrong_parameter(item: QAItem, parameters: Sequence[str]) -> Found | None:
    match, true = _WHICH.match(item.question), parameter_name(item)
    if not match or not true:
        return None
    wrong = [name for name in parameters if name != true and not holds(item.context, name)]
    if not wrong:
        return None
    false = drawn(item.id, wrong)[0]
    question = PARAMETER_QUESTION.format(name=false, of=match["of"] or "", does=match["does"])
    denial = f"It is {true}, not {false}, that {match['does']}."
    return question, denial, Change(type="parameter", true=true, false=false), item.evidence


def _wrong_number(statement: str, name: str) -> Found | None:
    """`... 75 patients ...` -> "Why is it that ... 150 patients ...?"."""
    numbers = list(NUMBER.finditer(statement))
    if not numbers:
        return None
    chosen = numbers[int(drawn(name, map(str, range(len(numbers))))[0])]
    share = statement[chosen.end() :].lstrip().startswith(("%", "percent", "per cent"))
    false = other_value(chosen[0], name, limit=100 if share else math.inf)
    if false is None:
        return None
    return (
        f"Why is it that {_inside(statement[: chosen.start()] + false + statement[chosen.end() :])}?",
        f"The text does not say {false} there, but {chosen[0]}.",
        Change(type="number", true=chosen[0], false=false),
        statement,
    )


def _negated_action(item: QAItem) -> Found | None:
    """`Verb object.` about the topic: "What does TOPIC do?" -> "Why does TOPIC not verb object?"."""
    match = re.match(r"What does (?P<subject>\S.*) do\?$", item.question)
    words = re.sub(r"^\w+ly ", "", item.evidence).split()
    if not match or len(words) < 3 or not is_action(*[word.lower() for word in words[:2]]):
        return None
    base = base_form(words[0].lower()) or words[0].lower()
    rest = " ".join(words[1:]).rstrip(".")
    return (
        f"Why does {match['subject']} not {base} {rest}?",
        f"{match['subject']} does {base} {rest}."[0].upper() + f"{match['subject']} does {base} {rest}."[1:],
        Change(type="negation", true=words[0], false=f"not {base}"),
        item.evidence,
    )


def _negated_statement(statement: str, name: str) -> Found | None:
    """`SUBJECT is|can|will REST.` -> "Why is it that SUBJECT is|can|will not REST?"; a stated "not" is taken out."""
    del name
    start = match.end() if (match := _CONDITION.match(statement)) else 0
    head, main = statement[:start], statement[start:]
    if len(_NEGATIVE.findall(main)) > 1:
        return None
    words = main.split()
    place = next((i for i, word in enumerate(words[:12]) if word in _NEGATED), 0)
    if not place or any(word in ("that", "which", "who", "where", "whose", "if", "when") for word in words[:place]):
        return None
    auxiliary, after = words[place], words[place + 1 :]
    if auxiliary == "cannot":
        true, false, rest = "cannot", "can", after
    elif after[:1] == ["not"]:
        true, false, rest = f"{auxiliary} not", auxiliary, after[1:]
    else:
        true, false, rest = auxiliary, "cannot" if auxiliary == "can" else f"{auxiliary} not", after
    if not rest or (false.endswith("not") and _NEGATIVE.search(main)):
        return None
    told = " ".join([*words[:place], false, *rest])
    return (
        f"Why is it that {_inside(head + told)}?",
        "It is the other way round.",
        Change(type="negation", true=true, false=false),
        statement,
    )


def _of(question: str) -> str:
    """` of LIBRARY's NAME`, as the question names the topic of its parameter; "" if it does not."""
    match = _OF.search(question) or _WHICH.match(question)
    return (match["of"] or "") if match else ""


def _inside(statement: str) -> str:
    """A sentence as it reads inside another one."""
    statement = statement.strip().rstrip(".!")
    return statement[:1].lower() + statement[1:] if statement.split(" ", 1)[0].lower() in _FUNCTION_WORDS else statement
