"""Whether a reply declines to answer, and whether it corrects what its question takes for granted.

Both are read (reply_acts/refusing.py, reply_acts/correcting.py; how well: docs/replies.md) with the question and, for a
refusal, the reference. A reply that denies a premise and then gives a wrong reason counts as a correction.
"""

from stages.lib.core.records import Record
from stages.lib.reply_acts.correcting import corrects_polarity, corrects_value
from stages.lib.reply_acts.refusing import says_not_told


def corrects(record: Record, reply: str) -> bool:
    """Whether a reply to a question with a false premise rejects it and, where it has a value wrong, states the right.

    `record`: a line of synthetic_qa; its `change` says what is wrong (`type`, `true`, `false`).
    """
    change = record.get("change") or {}
    question, true, false = str(record.get("question", "")), str(change.get("true", "")), str(change.get("false", ""))
    if change.get("type") == "negation" or not true or not false:
        return corrects_polarity(question, reply, false)
    return corrects_value(question, reply, true, false)


def declines(record: Record, reply: str) -> bool:
    """Whether a reply says that the text does not tell what is asked.

    A correction is none, although it may say what the text does not say ("The text does not say 7 there, but 5").
    """
    if record["kind"] == "false_premise" and corrects(record, reply):
        return False
    return says_not_told(reply, record.get("question", ""), record.get("answer", ""))
