"""The words that a question about a fact begins with, found by rule, for generators too small to choose them.

A 135M model that is shown a fact and asked for a question mostly asks about something else. Given the
first words (question word, auxiliary, subject), what is left to it is to finish the question, and
that it can. Some openings are whole but for the question mark; to those the model may add nothing of
its own. A fact for which no rule applies has no opening and is not asked about.
"""

import hashlib
import re
from dataclasses import dataclass

from stages.lib.english.facts import Fact
from stages.lib.english.verbs import AUXILIARIES, BASES, DEFINITION, THIRD_PERSONS, base_form, is_action, is_adverb


@dataclass(frozen=True)
class Opening:
    """A question's first words."""

    text: str
    whole: bool = False  # nothing is missing but the question mark
    broad: bool = False  # it asks what its topic is or does as a whole

    @property
    def asks_for_name(self) -> bool:
        """Whether the answer is the name of the fact's parameter."""
        return self.text.startswith("Which parameter")


_CONDITION = re.compile(r"^(if|when|unless|once)\s+(?!not\b)", re.IGNORECASE)
_CLAUSE = re.compile(  # what a main clause begins with
    r"(then|the|an?|it|they|you|this|all|no|only|both|each|any|every|we|there|use|set)\b|"
    r"\S+( \S+)? (is|are|will|can|must|should|does|has|have|may)\b"
)
_LATE_CONDITION = re.compile(
    r"\b(if|when|whenever|unless|until|before|after|(?<!at )once|only (?:if|when|for))\b", re.IGNORECASE
)
_REASON = re.compile(r"\b(because|since|due to|in order to|so that|to avoid|to prevent)\b", re.IGNORECASE)
_MODALS = ("can", "cannot", "must", "may", "should", "will", "could", "might")
_BE = ("is", "are", "was", "were")
_SUBJECT_STOP = re.compile(
    r"[,;:()]|^(it|they|this|that|these|those|there|he|she|which|who|we|you|i|and|or|but|if|when|to|in|for|by|with|at|"
    r"on|from|as|because|since|while|although|not|note|only|after|before|during|once|unless|where|how|what|some|"
    r"also|each)$|"
    r"^(that|who|whose)$",
    re.IGNORECASE,
)
_VAGUE = re.compile(
    r"^(some|it|they|this|not|so|any|either|neither|none|possible|needed|necessary|set|given)\b", re.IGNORECASE
)
_NO_NOUN = re.compile(
    r"(Can|Must|Should|Will|Only|When|If|In|For|On|By|As|At|To|Do|Not|No|With|Turn|Track|Note|May|How|Where|Which|What|"
    r"Possible|Either|One|Any|All|\w+ly)$"
)
_PARTICIPLE = re.compile(
    r"(only |always |\w+ly )?"
    r"(\w+ed|\w+en|set|kept|built|sent|cast|split|put|run|made|done|found|held|left|known|shown)\b"
)
_STATES = ("represent", "store", "hold", "contain", "describe", "define", "return", "provide", "record")
_DETERMINERS = (
    "the",
    "a",
    "an",
    "any",
    "all",
    "every",
    "other",
    "both",
    "no",
    "only",
    "most",
    "many",
    "several",
    "its",
)


def openings(fact: Fact, topic: str, continued: bool = False) -> list[Opening]:
    """The openings of questions that the fact answers, best first; empty where no rule applies.

    `topic` names what the document is about. What a document's first paragraph states without a
    subject ("Returns the ...") is about the topic. `continued`: the text is a later piece of its
    document; its first paragraph may go on about something that is not named any more.
    """
    if fact.entry:
        return _entry_openings(fact, topic)
    text = re.sub(
        r"^(note that|by default|in general|usually|internally|currently|now),?\s+", "", fact.text, flags=re.I
    )
    text = text[:1].upper() + text[1:]
    unnamed = continued and fact.leads and not fact.parameter
    found = [None if unnamed else _condition_opening(text), _purpose_opening(text), _subject_opening(text)]
    if fact.parameter:  # prose about a parameter: the question must say which
        named = f"the parameter {fact.parameter}{_of(topic)}"
        if re.match(r"Defaults? (is|to|value)\b", text):
            return [Opening(f"What is the default value of {named}", whole=True)]
        if match := re.match(r"(?:If|When) [`'\"]?(True|False|None)\b", text):
            return [Opening(f"What happens if {named} is {match[1]}", whole=True)]
        return [Opening(f"For {named}, {o.text[:1].lower()}{o.text[1:]}", o.whole) for o in found if o]
    if fact.leads and not continued and topic:
        found.append(_summary_opening(text, topic))
    return [opening for opening in found if opening]


def _entry_openings(fact: Fact, topic: str) -> list[Opening]:
    """An entry of a parameter list is asked for by its default, by its effect, for what it does, or for its name."""
    description = re.sub(r"^Whether or not\b", "Whether", fact.text.partition(":")[2].strip())
    parameter = f"the parameter {fact.parameter}{_of(topic)}"
    which = f"Which parameter{_of(topic)}"
    default = re.search(r"\bdefaults? (?:to|is|=|:)?\s*[`\"']*([^`\"')\s,]+)", fact.text, re.IGNORECASE)
    if default and re.search(r"\d", default[1]):
        return [Opening(f"What is the default value of {parameter}", whole=True)]
    if match := re.match(r"(?:If|When) (?:set to )?`?(true|false|provided|passed|specified)\b", description, re.I):
        state = match[1].capitalize() if match[1].lower() in ("true", "false") else match[1]
        return [Opening(f"What happens if {parameter} is {state}", whole=True)]
    if match := re.match(r"Set (?:this|it )?\s*to `?(True|False)`? if (\w+)", description):
        return [Opening(f"Which parameter{_of(topic)} should be set to {match[1]} if {match[2]}")]
    match _drawn(f"{topic} {fact.parameter}", 5):  # for variety
        case 0:
            asked = ("What does {} specify", "What do you specify with {}")[_drawn(fact.parameter, 2)]
            return [Opening(asked.format(parameter), whole=True)]
        case 1:
            asked = ("What is {} used for", "What would you use {} for")[_drawn(fact.parameter, 2)]
            return [Opening(asked.format(parameter), whole=True)]
        case 2:
            return [Opening(f"What role does {parameter} play", whole=True)]
    words = description.split()
    first, second = words[0].strip("`'\""), words[1] if len(words) > 1 else ""
    if first == "Whether":
        return [Opening(f"{which} decides whether {second}")] if re.fullmatch(r"[\w`]+", second) else []
    if first.lower() in ("the", "a", "an"):
        return [Opening(f"{which} {'takes' if first != 'The' else 'specifies'} {first.lower()} {second}")]
    if is_action(first, second):
        base = first.lower() if first.lower() in BASES else base_form(first.lower())
        return [Opening(f"{which} is used to {base}")] if base != "use" else []
    if re.fullmatch(r"[A-Z][a-z]+", first) and not _NO_NOUN.match(first):
        return [Opening(f"{which} specifies the {first.lower()}")]
    return []


def _condition_opening(text: str) -> Opening | None:
    """`If CONDITION, CONSEQUENCE.` -> What happens if CONDITION."""
    start = _CONDITION.match(text)
    for comma in re.finditer(r",\s+", text) if start else ():
        condition, consequence = text[len(start[0]) if start else 0 : comma.start()], text[comma.end() :]
        if len(condition) > 90 or ":" in condition or _VAGUE.match(condition):
            break
        whole = bool(re.search(r"[<>=]|\b(is|are|has|have|\w+(s|ed|ing))\b|\b(you|we|users) \w+", condition))
        if start and len(condition) >= 12 and whole and _CLAUSE.match(consequence):
            return Opening(f"What happens {start[1].lower()} {condition}", whole=True)
    return None


def _purpose_opening(text: str) -> Opening | None:
    """`To VERB OBJECT, INSTRUCTION.` -> How do you VERB OBJECT."""
    match = re.match(r"(?:In order )?[Tt]o ((\w+) [^,:]{8,80}),\s", text)
    return Opening(f"How do you {match[1]}", whole=True) if match and match[2] in BASES else None


def _subject_opening(text: str) -> Opening | None:
    """`SUBJECT VERB REST.` -> question word, auxiliary and subject; None when the subject is not plain."""
    words = text.split()
    if is_adverb(words[0]):
        words = words[1:]
    if is_action(*words[:2]) or words[0].endswith("ing") or words[0] in ("Will", "Should", "Can", "Must", "May"):
        return None
    for place, word in enumerate(words[1:11], start=1):
        if _SUBJECT_STOP.search(words[place - 1]):
            return None
        subject, rest = _lowered(" ".join(words[:place])), " ".join(words[place + 1 :])
        if word in _BE or word in _MODALS:
            return _auxiliary_opening(subject, word, rest)
        takes_object = bool(re.match(r"(an?|the|`\S*)(\s|$)", rest))
        if words[place + 1 : place + 2] and (words[place + 1] in AUXILIARIES or words[place + 1] == "of"):
            continue  # a plural: `The other processes will ...`
        base = THIRD_PERSONS.get(word) or (base_form(word) if takes_object and place < 4 else "")
        plural = words[place - 1].endswith("s") and word in ("default", "need", "require", "use", "have")
        if not base and not plural:
            continue
        if re.match(r"(been|not|\w+ed)\b", rest):
            return None
        asked = _asked_for(rest) if (base or word) not in ("default", "need", "require") else ""
        particle = re.match(r"(to (be|have)|to|of|on|from|with|in)\b", rest) if not asked else None
        verb = f"{base or word} {particle[0]}" if particle else base or word
        return Opening(f"{asked or 'What'} {'does' if base else 'do'} {subject} {verb}", whole=not asked)
    return None


def _auxiliary_opening(subject: str, auxiliary: str, rest: str) -> Opening | None:
    """`SUBJECT is|can REST` -> the auxiliary before the subject."""
    asked = _asked_for(rest)
    if auxiliary in _BE:
        if re.match(r"(an?|the|one|\d)\b", rest):
            return Opening(f"What {auxiliary} {subject}", whole=True)
        if _PARTICIPLE.match(rest):
            return Opening(f"{asked or 'How'} {auxiliary} {subject}")
        return Opening(f"Why {auxiliary} {subject}") if asked == "Why" else None
    if asked != "When" and auxiliary in ("can", "should") and (match := re.match(r"be (\w+ed|set|run|made)\b", rest)):
        return Opening(f"How {auxiliary} {subject} be {match[1]}", whole=True)
    if asked == "When" and auxiliary != "cannot":
        return Opening(f"{asked} {auxiliary} {subject}")
    verb, _, after = rest.partition(" ")
    if verb in BASES and auxiliary != "cannot" and not re.match(r"(to|in|on|at|with|for|as|by|from)\b", after):
        return Opening(f"What {auxiliary} {subject} {verb}", whole=True)
    return None


def _summary_opening(text: str, topic: str) -> Opening | None:
    """`Returns ...`, `Recursively apply ...`, `A class that ...`: the subject is the topic itself."""
    words = text.split()
    if is_adverb(words[0]):
        words = words[1:]
    if words[0] == "Will" and (words[1] in BASES or base_form(words[1] + "s")):
        return Opening(f"What will {topic} do", whole=True, broad=True)
    if (base := base_form(words[0].lower())) in _STATES:
        return Opening(f"What does {topic} {base}", whole=True, broad=True)
    if words[0] not in ("Use", "Set", "Make", "Call", "Pass", "Requires", "Needs", "Has", "Supports") and is_action(
        *words[:2]
    ):
        asked = ("What does {} do", "What is {} for", "What is the purpose of {}")[_drawn(topic, 3)]
        return Opening(asked.format(topic), whole=True, broad=True)
    return Opening(f"What is {topic}", whole=True, broad=True) if DEFINITION.match(text) else None


def _drawn(name: str, count: int) -> int:
    """A number below `count`, the same for a name on every machine."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % count


def _asked_for(rest: str) -> str:
    """When, Why or "": what the rest of a sentence after its verb tells."""
    return "When" if _LATE_CONDITION.search(rest) else "Why" if _REASON.search(rest) else ""


def _lowered(phrase: str) -> str:
    """The phrase as it reads inside a sentence: a determiner in front loses its capital."""
    first = phrase.split(" ", 1)[0]
    return phrase[:1].lower() + phrase[1:] if first.lower() in _DETERMINERS else phrase


def _of(topic: str) -> str:
    return f" of {topic}" if topic else ""
