"""What a question asks for, as a clause: "What is X?" -> "what X is". By rule, for refusals and reasoning."""

import re

from stages.lib.english.verbs import BASES, third_person

_AUXILIARY = r"(?:is|are|was|were|can|could|must|may|might|will|would|should|has|have|had)"
_SUBJECT_BEGINS = r"(?:we|you|i|they|he|she|it|this|these|those|there|the|an?)\b"
_PARTICLES = ("to", "be", "of", "on", "from", "with", "in")
_TOPIC = re.compile(r"^(?P<clause>.*\S)(?P<topic> in [\w.\-]+(?:'s? [\w.]+)?)$")


def asked_clause(question: str, opening: str = "") -> str | None:
    """The question as a clause that can follow "says", or None where no rule applies.

    Args:
        question: ends with a question mark.
        opening: its first words up to the end of the subject, where they are known (lib/qa/openings.py); with an
            auxiliary before the subject, only they tell where it ends.
    """
    body = question.strip().rstrip("?").strip()
    if match := re.match(r"For (the parameter .+?), (\w.*)$", body):
        inner = asked_clause(match[2], opening.partition(", ")[2])
        return inner and f"{inner}, for {match[1]}"
    if match := re.match(r"How do (?:you|i|we) (.+)$", body, re.IGNORECASE):
        return f"how to {match[1]}"
    if re.match(r"(which|what|who)\b", body, re.IGNORECASE) and _asks_for_subject(body):
        return _lowered(body)
    if match := re.match(r"(what|when|why|how|where|which \w+) (does|do) (.+)$", body, re.IGNORECASE):
        return _with_do(_lowered(match[1]), match[2], match[3], opening)
    if match := re.match(rf"(what|when|why|how|where|who) ({_AUXILIARY}) (.+)$", body, re.IGNORECASE):
        return _with_auxiliary(_lowered(match[1]), match[2], match[3], opening)
    if match := re.match(r"(does|do) (.+)$", body, re.IGNORECASE):
        return _with_do("whether", match[1].lower(), match[2], "")
    return None


def asked_phrase(question: str, opening: str = "") -> str:
    """The clause; where there is none, the question itself in quotes: `what is asked: "..."`."""
    return asked_clause(question, opening) or f'what is asked: "{question.strip()}"'


def _asks_for_subject(body: str) -> bool:
    """Whether the question's verb follows what it asks for: "Which parameter takes ...", "What happens if ..."."""
    if re.match(rf"(what|who) (do|does|did|{_AUXILIARY})\b", body, re.IGNORECASE):
        return False
    # "which model do you", "which method can we": the subject comes after the verb
    return not re.match(rf"\S+ (\S+ )?((do|does|did)\b|{_AUXILIARY} {_SUBJECT_BEGINS})", body, re.IGNORECASE)


def _with_do(asked: str, verb: str, rest: str, opening: str) -> str | None:
    words = rest.split()
    # A whole opening, `What does SUBJECT VERB (PARTICLE)`, ends with its verb.
    known = [word for word in opening.split()[2:] if word not in _PARTICLES] if asked == "what" else []
    for place, word in enumerate(words[1:], start=1):
        if word in BASES or (word == "do" and asked == "what") or (word in known[-1:] and place >= len(known) - 1):
            finite = {"do": "does", "have": "has"}.get(word, third_person(word)) if verb == "does" else word
            return " ".join([asked, *words[:place], finite, *words[place + 1 :]])
    return None


def _with_auxiliary(asked: str, auxiliary: str, rest: str, opening: str) -> str | None:
    subject = opening.split(" ", 2)[2] if opening.count(" ") >= 2 else ""
    after = rest[len(subject) :].strip() if subject and rest.startswith(subject) else ""
    if asked == "what" and auxiliary in ("is", "are", "was", "were"):
        if not after or after.startswith("in "):
            found = None if subject and not after else _TOPIC.match(rest)
            head, topic = (found["clause"], found["topic"]) if found else (rest, "")
            return f"{asked} {head} {auxiliary}{topic}"
        return None
    return f"{asked} {subject} {auxiliary} {after}" if after else None


def _lowered(body: str) -> str:
    return body[:1].lower() + body[1:]
