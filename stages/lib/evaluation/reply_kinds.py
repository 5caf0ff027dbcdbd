"""Whether a reply declines to answer, and whether it corrects what its question takes for granted.

By wording alone: a model that says such things in words that no pattern knows counts as one that does not, and a
reply that denies the premise and then gives a wrong reason counts as a correction.
"""

import re

from stages.lib.answers.statements import holds, says_not_told
from stages.lib.core.records import Record

_DENIES = re.compile(
    r"^\W*no\b(?! (?:information|mention|need))|\b(?:incorrect|mistaken|untrue|wrong|contrary|misconception)\b|"
    r"\bnot (?:\w+ )?(?:true|so|the case|correct|right|accurate|what the (?:text|question))\b|"
    r"\bother way (?:a?round)\b|\btakes? for granted\b|\bpremise\b|\bactually\b|\bcontradicts?\b|"
    r"\b(?:does|do|is|are) not\b[^.]{0,80}\bbut\b|,\s*not\b",
    re.IGNORECASE,
)


def denies(reply: str) -> bool:
    """Whether a reply denies something: "No.", "is not 3, but 5", "the other way round"."""
    return bool(_DENIES.search(reply))


def corrects(record: Record, reply: str) -> bool:
    """Whether a reply to a question with a false premise denies it and, where the premise has a value wrong, names it.

    `record`: a line of synthetic_qa; its `change` says what is wrong (`type`, `true`, `false`).
    """
    change = record.get("change") or {}
    if change.get("type") in ("default", "number", "parameter", "name", "opposite"):
        return denies(reply) and holds(reply, str(change["true"]))
    return denies(reply)


def declines(record: Record, reply: str) -> bool:
    """Whether a reply says that the text does not tell what is asked.

    A correction is none, although it may say what the text does not say ("The text does not say 7 there, but 5").
    """
    return says_not_told(reply) and not (record["kind"] == "false_premise" and corrects(record, reply))
