"""How alike an answer and a reference are in their words: SQuAD's token F1 and ROUGE-L.

Both are 0 to 1 and ask nobody. They see words, not meanings: "not before 5" and "5, not before"
are the same to F1.
"""

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NOT_ROUGE = re.compile(r"[^a-z0-9]+")


def squad_words(text: str) -> list[str]:
    """The words that SQuAD's evaluation compares: lower case, without punctuation and English articles.

    Source: `normalize_answer` of Rajpurkar et al., arXiv:1606.05250, evaluate-v2.0.py.
    """
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def token_f1(prediction: str, reference: str) -> float:
    """Harmonic mean of precision and recall over words, each counted as often as it occurs; 0..1.

    Two texts without a word are equal (1), one without is wrong (0), as in SQuAD 2.0.
    """
    said, wanted = squad_words(prediction), squad_words(reference)
    if not said or not wanted:
        return float(said == wanted)
    common = (Counter(said) & Counter(wanted)).total()
    return 2 * common / (len(said) + len(wanted))


def rouge_l(prediction: str, reference: str) -> float:
    """ROUGE-L's F measure (Lin 2004), 0..1: the longest common subsequence of words over both lengths.

    The same number as `rougeL` of the package rouge-score 0.1.2 without its stemmer, which a test
    compares; like it, it knows no letters but a-z, so that a text without any scores 0.
    """
    said, wanted = _rouge_words(prediction), _rouge_words(reference)
    if not said or not wanted:
        return 0.0
    return 2 * _common_length(said, wanted) / (len(said) + len(wanted))


def _rouge_words(text: str) -> list[str]:
    return _NOT_ROUGE.sub(" ", text.lower()).split()


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
