"""A statement of a text, changed in one place: a number, a name, a word into its opposite, a yes into a no.

Each change says what it shows in a question: a changed statement that holds `not` looks like a true one that holds
`not`, one with another count like any with a count. Pairs of the same show cannot be told apart by it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stages.lib.answers.statements import holds
from stages.lib.chats.qa_items import Change
from stages.lib.english.alike_names import swapped_names
from stages.lib.english.opposites import opposed
from stages.lib.english.quantities import changed_numbers
from stages.lib.english.verbs import AUXILIARIES

_CONDITION = re.compile(r"^(?:If|When|Once|Unless|By default|In general|To)\b[^,]*,\s+", re.IGNORECASE)
_NEGATIVE = re.compile(r"\b(no|not|none|never|neither|nor|cannot|without)\b|n't\b", re.IGNORECASE)
_WITH_NOT = re.compile(r"\b(?:either|any|yet|at all|until|but|anymore|necessarily)\b")  # words that need the "not"
# "has" and "have" are left out: most are no auxiliaries.
_NEGATED = AUXILIARIES - {"has", "have"}


@dataclass(frozen=True, kw_only=True)
class StatementChange:
    """A statement, what it becomes, and how both look in a question."""

    told: str  # what the text says
    said: str  # the same as a sentence of its own
    changed: str  # the same, false
    change: Change
    denial: str
    shows_true: str  # what a question on `told` shows of the change: its kind, or the word that was changed
    shows_false: str  # the same of a question on `changed`


def statement_changes(statement: str, text: str, name: str) -> Iterator[StatementChange]:
    """Every change of the statement that keeps it plausible; numbers and the like drawn by hash of `name`."""
    for number in changed_numbers(statement, name):
        yield StatementChange(
            told=statement,
            said=statement,
            changed=number.statement,
            change=Change(type="number", true=number.true, false=number.false),
            denial=f"The text has {number.true} there, not {number.false}.",
            shows_true=number.kind,
            shows_false=number.kind,
        )
    for changed, true, false in swapped_names(statement, text):
        yield StatementChange(
            told=statement,
            said=statement,
            changed=changed,
            change=Change(type="name", true=true, false=false),
            denial=f"The text says this of {true}, not of {false}.",
            shows_true="name",
            shows_false="name",
        )
    for changed, true, false in opposed(statement):
        yield StatementChange(
            told=statement,
            said=statement,
            changed=changed,
            change=Change(type="opposite", true=true, false=false),
            denial=f"The text says {true} there, not {false}.",
            shows_true=true,
            shows_false=false,
        )
    if negated := _negated(statement):
        yield negated


def is_in_text(change: StatementChange, text: str) -> bool:
    """Whether a changed number stands elsewhere in the text: the premise might be true of something else in it."""
    return change.change.type == "number" and holds(text, change.change.false)


def _negated(statement: str) -> StatementChange | None:
    """`SUBJECT is|can|will REST.` -> `SUBJECT is|can|will not REST.`; a stated "not" is taken out."""
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
    if true.endswith("not") and _WITH_NOT.search(main):
        return None
    return StatementChange(
        told=statement,
        said=statement,
        changed=head + " ".join([*words[:place], false, *rest]),
        change=Change(type="negation", true=true, false=false),
        denial="It is the other way round.",
        shows_true=_yes_or_no(true),
        shows_false=_yes_or_no(false),
    )


def _yes_or_no(words: str) -> str:
    return "cannot" if words == "cannot" else "not" if words.endswith("not") else "yes"
