"""What is wrong with a question, seen from the question alone, in any language.

A question ends with the question mark of its script (or, where that is not customary, with a word that asks), holds one
question, and some words. That a statement with a question mark is none can be told of English alone; other languages
are taken at their mark.
"""

import re
from collections import Counter

from stages.lib.english.verbs import AUXILIARIES, THIRD_PERSONS
from stages.lib.languages.english_or_not import guess_by_words, is_english_function_word
from stages.lib.languages.words import one_form, words
from stages.lib.question_forms.references import refers_to_unseen

MAX_QUESTION_CHARS = 300
LEAST_WORDS = 3
_CLOSING = "\"'`*_)]}>»”’“」』】!） \t\n"
_MARK = r"[?\u061f\u055e\u1367\u203d\u2e2e]"  # after NFKC, which makes one of the full-width ones; Arabic, Armenian
# One that ends a question: not within a name or an address ("page?id=3"), nor at the end of a quoted title
_ENDING_MARK = re.compile(rf"{_MARK}(?![\w\"'”’»/=&.,:;)\]}}])")
_RUN_OF_MARKS = re.compile(rf"{_MARK}[{_MARK[1:-1]}!\s]*(?={_MARK})")
_GREEK = re.compile(r"[\u0370-\u03ff]")
_ARMENIAN_MARK = "\u055e"  # stands within the word that asks; the sentence ends with a full stop
# Languages that ask by a word, with or without a mark: Japanese, Korean, Burmese, Lao and Thai
_ASKING_WORD = re.compile(
    r"か[。.]?$|(?:까|나요|가요|인가|는가)[.]?$|(?:လဲ|လား)။?$|"
    r"(?:อะไร|หรือไม่|ไหม|มั้ย|อย่างไร|ยังไง|เท่าไร|เท่าไหร่|เท่าใด|ที่ไหน|เมื่อไร|เมื่อไหร่|เมื่อใด|ใคร|ทำไม|ใด|กี่\S*)$|(?:ຫຍັງ|ບໍ|ແນວໃດ)$"
)
_JAPANESE_ENDS = re.compile(r"か(?:。|$)")
# Languages that put a question into two words: "LoRA nedir?", "LoRA는 무엇인가요?"
_LONG_WORDS = re.compile(r"[\uac00-\ud7af]|\b(?:ne|kim|nere|kaç)\w*[dt][iıuü]r\b|\bnedir\b")
_CODE = re.compile(r"`[^`]*`")

_WH = r"(?:what|which|who|whom|whose|when|where|why|how)\b"
_AUXILIARY = (
    r"(?:am|is|are|was|were|do|does|did|can|could|should|must|may|might|shall|will|would|has|have|had)(?:n't)?\b"
)
_PREPOSITION = (
    r"(?:to|in|of|by|for|with|from|at|on|under|during|about|into|through|after|before|between|within|until|since|as|"
    r"against|besides|over|than|and|or)"
)
# A question word or a verb where a clause begins: at the start, after a comma, a colon, a dash, a sentence before
_ENGLISH_START = re.compile(
    rf"(?:^|[,;:.!(–—]|--?)[\s\"'`*(\[]*(?:(?:and|or|but|so|then|{_PREPOSITION})\s+)?(?:{_WH}|{_AUXILIARY})"
)
_ENGLISH_ORDER = re.compile(r"^[\s\"'`*(\[]*(?:please )?(?:name|list|give|state|define|describe|explain|identify)\b")
_AFTER_LEAD = re.compile(rf"(?<!is )(?<!are )(?<!was )(?<!were )\b(?:what|who|where|when|why|how) {_AUXILIARY}")
# A question word in its place: "took how many teams", "by what country", "is expressed as what"
_IN_PLACE = re.compile(r"\b(?:what|which|whose|whom|who|how (?:many|much|long|often|far|old|large|big))\b(?P<rest>.*)$")
_BY_PREPOSITION = re.compile(rf"\b{_PREPOSITION},? (?:what|whom)\b")
_AT_THE_END = re.compile(rf"\b{_WH}\W*$")
_OF_WHICH = re.compile(r"^(?:\S+ ){1,2}(?:of|in|for|by) which\b")
_INVERTED = re.compile(r"\b(?:what|which|how (?:many|much)) (?:[\w'\-]+ ){1,4}(?:do|does|did) \w")
# A whole question that lacks its mark, as people type them: "who was Count of Melfi"
_WITHOUT_MARK = re.compile(rf"^(?:{_WH} {_AUXILIARY}|(?:what|which|who|how (?:many|much))\b)(?P<rest>.*\w)$")


def question_fault(question: str) -> str | None:
    """Why a text cannot serve as a question that stands on its own; None if it can.

    Reasons: not_a_question (no mark, fewer than three words, several questions, over MAX_QUESTION_CHARS characters, an
    English statement with a mark), repeats_itself, refers_to_context.
    """
    text = one_form(question.replace("？", "？ ")).strip()  # full-width: no blank follows it
    found = words(_CODE.sub(" x ", text))
    if len(text) > MAX_QUESTION_CHARS or not _has_its_mark(text) or not _has_words(text, found):
        return "not_a_question"
    if guess_by_words(found) == "english" and not _asks_in_english(text):
        return "not_a_question"
    if _repeats_itself(found):
        return "repeats_itself"
    return "refers_to_context" if refers_to_unseen(text) else None


def _has_its_mark(text: str) -> bool:
    """Whether the text is one question by its marks."""
    bare = _CODE.sub("x", text).rstrip(_CLOSING)
    if _GREEK.search(bare) and bare.count(";") == 1 and bare.endswith(";"):
        return not re.search(_MARK, bare)
    if _ARMENIAN_MARK in bare:
        return len(re.findall(rf"{_ARMENIAN_MARK}[^.:։]*", bare)) == 1 or bare.count("։") <= 1
    bare = _RUN_OF_MARKS.sub("", bare)
    marks = len(_ENDING_MARK.findall(bare))
    if re.search(rf"{_MARK}$", bare):
        return marks == 1
    if len(_JAPANESE_ENDS.findall(bare)) > 1:
        return False
    return marks == 0 and bool(_ASKING_WORD.search(bare) or _is_typed_without(bare))


def _is_typed_without(text: str) -> bool:
    """Whether an English text is a whole question but for its mark."""
    match = _WITHOUT_MARK.match(text)
    if not match or is_english_function_word(text.rsplit(maxsplit=1)[-1]):
        return False
    return bool(re.match(rf"{_WH} {_AUXILIARY}", text)) or _has_finite_verb(match["rest"])


def _repeats_itself(found: list[str]) -> bool:
    """Whether a third of the word triples, or one of them four times, was there before."""
    counts = Counter(zip(found, found[1:], found[2:], strict=False))
    again = counts.total() - len(counts)
    return again >= 2 and (3 * again >= counts.total() or max(counts.values()) >= 4)


def _has_words(text: str, found: list[str]) -> bool:
    """Whether there is enough to ask about: some words, and one that means something."""
    least = 2 if _LONG_WORDS.search(text) else LEAST_WORDS
    return len(found) >= least and not all(is_english_function_word(word) for word in found)


def _asks_in_english(text: str) -> bool:
    """Whether an English text with a question mark is built as a question (or an order to name something)."""
    if _ENGLISH_START.search(text) or _ENGLISH_ORDER.search(text) or _AFTER_LEAD.search(text):
        return True
    if any(form.search(text) for form in (_BY_PREPOSITION, _AT_THE_END, _OF_WHICH, _INVERTED)):
        return True
    return any(not _has_finite_verb(match["rest"]) for match in _IN_PLACE.finditer(text))


def _has_finite_verb(text: str) -> bool:
    """Whether a verb follows that makes the question word before it begin a clause: "is what LoRA trains"."""
    return any(word in AUXILIARIES or word in THIRD_PERSONS for word in re.findall(r"[a-z]+", text))
