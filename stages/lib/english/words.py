"""The words of a text that carry its content, for rules that compare texts without a model.

Function words and endings are those of English; the words of other languages count as they stand, in every script.
"""

import re

from stages.lib.languages.words import LETTER, is_unspaced, one_form, segments, words

# English function words, and the words that a question is built of
_STOP_WORDS = """
    a about above after again all also an and any are as at be because been before being between both but by can could
    did do does doing down during each few for from further get had has have having how i if in into is it its itself
    just may me might more most must my no nor not of off on once only or other our out over own same shall she should
    so some such than that the their them then there these they this those through to too under until up upon us use
    used uses using very via was we were what when where whether which while who whom whose why will with within would
    you your yes e g i.e e.g etc
"""
_STOPPED = frozenset(_STOP_WORDS.split())
_NAME = re.compile(rf"{LETTER}+(?:[_.\-]{LETTER}+)*")
_ENDINGS = (("ies", "y"), ("ied", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""))


def content_words(text: str) -> set[str]:
    """Lower-case words and numbers without function words; plural, -ed and -ing endings are cut.

    Names with underscores or dots count whole and by their parts, so that `max_length` meets "max length".
    """
    found = set()
    for word in _NAME.findall(one_form(text)):
        parts = {word, *re.split(r"[_.\-]", word)}
        if is_unspaced(word):
            parts = {segment for part in parts for segment in segments(part)}
        found |= {stem(part) for part in parts if part not in _STOPPED}
    return found


def stem(word: str) -> str:
    """A crude stem: enough for "layers"/"layer", "applied"/"apply", "saving"/"save"/"saves" to meet."""
    if len(word) < 4 or not word.isalpha():
        return word
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and not word.endswith(("ss", "us")) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)] + instead
            break
    if len(word) > 3 and word.endswith("e"):
        word = word[:-1]
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls":
        word = word[:-1]
    return word


def normalised(text: str) -> str:
    """Lower case, nothing but letters, digits and single blanks: equal for texts that differ in form alone."""
    return " ".join(words(text))


def is_function_word(word: str) -> bool:
    """Whether a lower-case word is one that `content_words` leaves out."""
    return word in _STOPPED
