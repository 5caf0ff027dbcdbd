"""Whether a question that was made from a sentence can be asked by somebody who has not read it."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Span, Token

MOST_WORDS = 20  # of a question
LEAST_NAMED = 2  # words that name something, of a question that needs no topic beside them

_LEANS = re.compile(
    r"\b(this|that (?:is|was)\b|these|those|such|here|above|below|following|previous(?:ly)?|latter|former|we|our|us|"
    r"aforementioned|i|my|me|let's|figure|table|section|chapter|examples?|guide|tutorial|blog|post|next|another|same|"
    r"both|others|like so|as follows|for (?:instance|example)|"
    r"today|yesterday|now|later|earlier|then|too|also|even|licen[cs]ed?|copyright|"
    r"as (?:well|you|shown|discussed|mentioned|noted|described|seen|usual)|respectively|notebook|paper|"
    r"the (?:topic|study|experiment|scenario|situation|question|issue|case|text|story|chart)|on the other hand|et al|"
    r"repository|repo|folder|directory|script)\b",
    re.IGNORECASE,
)
_SIGNS = re.compile(
    r"[={}<>|\\;\[\]\n…—]|https?:|\.\.\.|::|->|\.md\b|^\W|\bwhat (?:what|who|how)\b|"
    r"\b(?:to|for|with|of|by|on|in|from|about|than) (?:it|them|him|her)\b|\bit takes\b|"
    r"\b(?:if|when|unless) (?:true|false|none|not|set|provided|specified|passed|given|possible|needed|necessary)\b",
    re.IGNORECASE,
)
_CUT = re.compile(
    r"^(?:What|Who) (?:to|not)\b|\b(?:and|or|but|the|a|an|if|when|that|which|also|only|perhaps|is|are|was|were|be)$|"
    r"\b(?:percent|%) (?!of\b)|, followed\b",
    re.IGNORECASE,
)
_PRONOUN = re.compile(r"\b(they|them|their|its?|his|her|he|she|him|itself|themselves)\b", re.IGNORECASE)
# Nouns that name nothing by themselves
_GENERAL = frozenset(
    """amount answer approach area argument aspect author base basis beginning behavior behaviour benefit bit body case
    cause chance change child choice class code component concept condition course data day definition detail difference
    document effect element end event experience experiment fact factor feature field file finding form format function
    goal group hand hour idea image individual information input instance issue item job kind knowledge language layer
    learner level library life line list little location lot man manner matter meaning member men method mind minute
    model module moment month name need number object one option order other output page paragraph parameter part
    participant people percentage performance period person phase picture place point position possibility problem
    process product program purpose quality question range rate reason relation relationship research researcher result
    role rule sample scale scenario scientist sense set setting side situation size skill solution source space stage
    state statement step story string structure student study style subject support system task teacher technique
    tendency term test text theory thing time token topic type unit use user value variable version view way week woman
    women word work world writer year you""".split()
)
_DETERMINERS = ("the", "each", "all", "some", "many", "most", "a", "an", "any", "it", "they")
_PALE = frozenset("new old young entire whole final original small large big first second last main".split())
_THINGS = ("NOUN", "PROPN", "NUM", "ADJ")
_NAMING = ("NOUN", "PROPN", "NUM", "VERB")


def fits(text: str, sentence: "Span", named: str = "") -> bool:
    """Whether a question names anything that it asks about, in few words, and leans on nothing that is not in it.

    Args:
        text: the question.
        sentence: what it was made from.
        named: a name in it that is not from the sentence.
    """
    words = re.findall(r"[\w'’\-]+", text)
    if not 3 <= len(words) <= MOST_WORDS or any(sign.search(text) for sign in (_LEANS, _SIGNS, _CUT)):
        return False
    if text.count('"') % 2 or text.count("“") != text.count("”") or text.count("(") != text.count(")"):
        return False
    if (pronoun := _PRONOUN.search(text)) and not named:
        before = text[: pronoun.start()].lower().split()
        if not any(token.pos_ in ("NOUN", "PROPN") and token.lower_ in before for token in sentence):
            return False
    named_things = any(token.pos_ in _THINGS and token.text.lower() in text.lower().split() for token in sentence)
    return bool(named_things and naming_words(text, sentence)) or bool(named)


def naming_words(text: str, sentence: "Span", *, things: bool = False) -> set[str]:
    """The words of a question that name something: not those that any sentence could hold; `things`: no verbs."""
    held = set(re.findall(r"[\w\-.]+", text.lower()))
    held |= {part for word in held for part in re.split(r"[-.]", word)}
    return {
        token.lemma_.lower()
        for token in sentence
        if token.lower_ in held
        and (token.pos_ in (_THINGS if things else _NAMING) or re.fullmatch(r"Name\d+", token.text))  # code, masked
        and not token.is_stop
        and token.lemma_.lower() not in _GENERAL
        and len(token.text) > 1
    }


def unnamed(subject: str, sentence: "Span") -> bool:
    """Whether a phrase such as "the rate" or "the model" only means something where it stands."""
    words = subject.split()
    return bool(words) and words[0].lower() in _DETERMINERS and not naming_words(subject, sentence)


def is_of_a_story(text: str, subject: "list[Token]", sentence: "Span") -> bool:
    """Whether a question asks about "the realtor" or "the children" and "the dolls": its text alone tells which."""
    if is_of_names(text, sentence):
        return False
    held = set(re.findall(r"[\w\-.]+", text))
    own = [token for token in sentence if token.text in held]
    bare = [token for token in own if _is_bare(token)]
    return len(bare) > 1 or (bool(bare) and bare[0] in subject)


def is_of_things(text: str, sentence: "Span") -> bool:
    """Whether a question names two things, or one by its name: not "What did owners pay"."""
    return is_of_names(text, sentence) or len(naming_words(text, sentence, things=True)) >= LEAST_NAMED


def is_of_names(text: str, sentence: "Span") -> bool:
    """Whether a question holds a name: of somebody, of a place, of code, a date or a number."""
    held = set(re.findall(r"[\w\-.]+", text))
    return any(token.text in held and (token.pos_ == "PROPN" or token.ent_type_) for token in sentence)


def _is_bare(token: "Token") -> bool:
    """A noun behind "the" that nothing describes."""
    described = [t for t in token.children if t.dep_ != "det" and not t.is_punct and t.lower_ not in _PALE]
    return token.pos_ == "NOUN" and not described and any(t.lower_ == "the" for t in token.children)
