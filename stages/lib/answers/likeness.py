"""How alike an answer and a reference are in their words: SQuAD's token F1 and ROUGE-L.

Both are 0 to 1 and ask nobody. They see words, not meanings: "not before 5" and "5, not before" are the same to F1.
English is measured as SQuAD's script and the package rouge-score do. Both of these know blanks and the letters a to z
alone, so that of a Chinese or a Russian answer nothing but its digits would count: other languages are measured on the
words of lib/languages/words.py, in every script. A reference without a word measures nothing: None, not 0.
"""

import re
import string
import unicodedata
from collections import Counter

from stages.lib.languages.english_or_not import guess
from stages.lib.languages.words import is_unspaced, one_form, words

_ARTICLES = frozenset(["a", "an", "the"])
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_QUOTES = str.maketrans("", "", "\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb")
_NOT_ROUGE = re.compile(r"[^a-z0-9]+")
_LATIN_ENDS, _MORE_LATIN = "\u024f", ("\u1e00", "\u1eff")


def squad_words(text: str) -> list[str]:
    """The words that SQuAD's evaluation compares: lower case, without punctuation and English articles.

    Source: `normalize_answer` of Rajpurkar et al., arXiv:1606.05250, evaluate-v2.0.py. Three departures: punctuation of
    other scripts goes too, as in MLQA (Lewis et al., arXiv:1910.07475); where no blanks are written, words are cut by
    ICU; and an article that is all there is stays ("A" may be the answer).
    """
    lowered = one_form(text).translate(_PUNCTUATION)
    if not lowered.isascii():
        lowered = "".join(" " if _is_punctuation(sign) else sign for sign in lowered.translate(_QUOTES))
    pieces = [word for piece in lowered.split() for word in (words(piece) if is_unspaced(piece) else [piece])]
    return [piece for piece in pieces if piece not in _ARTICLES] or pieces


def token_f1(prediction: str, reference: str) -> float | None:
    """Harmonic mean of precision and recall over words, each counted as often as it occurs; 0..1.

    None where the reference has no word: nothing can be measured by it. A prediction without a word is worth 0.
    """
    said, wanted = squad_words(prediction), squad_words(reference)
    if not wanted:
        return None
    common = (Counter(said) & Counter(wanted)).total()
    return 2 * common / (len(said) + len(wanted))


def rouge_l(prediction: str, reference: str) -> float | None:
    """ROUGE-L's F measure (Lin 2004), 0..1: the longest common subsequence of words over both lengths.

    For an English reference the same number as `rougeL` of the package rouge-score 0.1.2 without its stemmer, which
    cuts "naïve" at its ï; for others that of the same package with our words as its tokenizer. Tests compare both.
    None where the reference has no word; a prediction without one is worth 0.
    """
    english = guess(reference) == "english"
    said, wanted = _rouge_words(prediction, english), _rouge_words(reference, english)
    if not wanted:
        return None
    return 2 * _common_length(said, wanted) / (len(said) + len(wanted))


def _is_punctuation(sign: str) -> bool:
    return not sign.isascii() and unicodedata.category(sign).startswith("P")


def _rouge_words(text: str, english: bool) -> list[str]:
    if not english:
        return words(text)
    # A word of another script within English counts whole.
    return [
        part
        for word in text.lower().split()
        for part in (words(word) if any(map(_is_foreign, word)) else _NOT_ROUGE.sub(" ", word).split())
    ]


def _is_foreign(sign: str) -> bool:
    """Whether it is a letter of another script than the Latin one."""
    return sign.isalpha() and sign > _LATIN_ENDS and not _MORE_LATIN[0] <= sign <= _MORE_LATIN[1]


def _common_length(first: list[str], second: list[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004): one row of the table is one integer."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(first)) - 1
    row = everywhere  # bit i is 0 where the table grows from column i to i + 1
    for word in second:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & everywhere
    return len(first) - row.bit_count()
