"""Sentences that name a term for what they say, or tell what a term is by an example; found by their wording.

A parse sees no definition in "You will have difficulty seeing in dim light, a condition known as night blindness."
"""

import re

LEAST_WORDS_BEFORE = 6  # of a sentence that says what it then names

_NAMING = r"(?:known as|called|termed|referred to as)"
_ADVERB = r"(?:often|also|sometimes|commonly|generally|usually|now)"
_KIND = (
    "approach|behavior|concept|condition|disorder|effect|idea|method|phenomenon|practice|principle|procedure|process|"
    "readiness|state|structure|substance|system|technique|tendency|theory|tradition"
)
_WORD = r"(?!(?:is|are|was|were|be|would|can|may|might|will|what)\b)[A-Za-z][\w-]+"
_NAMED = re.compile(
    rf"(?:\b(?:is|are|was|were|be) (?:{_ADVERB} )?|\b(?:{_KIND})s? (?:{_ADVERB} )?|, (?:{_ADVERB} )?){_NAMING} "
    rf"(?P<article>(?:an?|the) )?[“\"'‘]?(?P<term>{_WORD}(?: {_WORD}){{0,3}})[”\"'’]?"
    rf"(?=[.,;:—]| \(| (?:which|that|because|when|and)\b)"
)
_HANGS = re.compile(
    r"(?:this|it|they|that|another|an example)\b|.*\bth(?:is|ese) (?:book|chapter|guide|page|section)s?\b",
    re.IGNORECASE,
)
_NO_TERM = re.compile(
    r"(?:in|on|by|to|at|for|with|upon|from|it|them|this|that|these|those|such|when|if|and|or)\b", re.I
)
_KIND_OF = re.compile(
    rf"(?P<article>An?) (?P<term>{_WORD}(?: {_WORD}){{0,2}}) is (?:what|when|one of an? (?:class|family|form|group|"
    r"kind|series|set|type)s?)\b"
)
_EXAMPLE = re.compile(
    rf"(?:An|Another|One|A (?:common|good|typical|classic)) example of "
    rf"(?P<term>(?:an? |the )?{_WORD}(?: {_WORD}){{0,4}}) is "
)
_EXAMPLES = re.compile(
    rf"[^,]+, [^.]* are (?:all )?(?:\w+ )?examples of (?P<term>{_WORD}(?: {_WORD}){{0,3}})(?=[.,;]| \()"
)
_SORT = re.compile(
    rf"An? (?:\w+ ){{0,2}}(?:{_KIND}|algorithm|class|field|form|function|kind|layer|library|measure|measurement|metric|"
    r"model|set|subfield|task|tool|type|way) (?:of|that|which|in|for|used|where|to)\b"
)
_STATES = re.compile(r"[^,;]*?(?<!that )(?<!which )\b(?:is|are|was|were|can|could|should|will|must|has|have|had)\b")
_HEADING = re.compile(r"#{1,6} (?P<term>[A-Za-z][\w()-]*(?: [\w()-]+){0,4})[ \t]*$")

_ORIGIN = re.compile(
    r"(?P<thing>(?:The )?(?!It )[A-Z]\w[^,.;:]{0,60}?) (?:was|were) (?:first )?(?P<did>proposed|introduced|presented) "
    r"in (?:the paper )?\S+ \S+ .{5,150} by (?!the |an? )[A-Z]"
)


def question_of_origin(sentence: str) -> str:
    """Who wrote the work that a sentence names as something's origin, without its mark; "" where it names none.

    "X was proposed in TITLE by AUTHORS." -> Who proposed X.
    """
    if match := _ORIGIN.match(sentence):
        return f"Who {match['did']} {re.sub('^The ', 'the ', match['thing'])}"
    return ""


def question_of_heading(before: str, sentence: str) -> str:
    """The question that a glossary's entry answers, without its mark; "" where it is none.

    An entry: a heading, the last line of `before`, and a sentence that says what sort of thing that is and states
    nothing: "### sampling rate", "A measurement in hertz of the number of samples." -> How is sampling
    rate defined.
    """
    match = _HEADING.search(before.rstrip().rpartition("\n")[2])
    if match is None or not _SORT.match(sentence) or _STATES.match(sentence):
        return ""
    return _defined(match["term"])


def question_of_term(sentence: str) -> str:
    """The question that a sentence answers by naming or explaining a term, without its mark; "" where it does neither.

    "..., a condition known as night blindness." -> How is night blindness defined; "A parasomnia is one of a
    group of disorders in which ..." -> What is a parasomnia; "An example of such X is Y." -> none.
    """
    if match := _KIND_OF.match(sentence):
        return f"What is {match['article'].lower()} {match['term']}"
    if match := _EXAMPLE.match(sentence):
        return "" if _NO_TERM.match(match["term"]) else f"What is an example of {match['term']}"
    if match := _EXAMPLES.match(sentence):
        return "" if _NO_TERM.match(match["term"]) else f"What are examples of {match['term']}"
    match = None if _HANGS.match(sentence) else _NAMED.search(sentence)
    if match is None or len(sentence[: match.start()].split()) < LEAST_WORDS_BEFORE or _NO_TERM.match(match["term"]):
        return ""
    return _defined(match["term"])


def _defined(term: str) -> str:
    many = re.search(r"(?<![sui])s$", term)
    return f"How {'are' if many else 'is'} {term} defined"
