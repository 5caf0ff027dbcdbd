"""The words of a text in any script.

A word is a run of letters and digits with their combining marks (Hindi vowel signs are marks, not letters). Where a
script writes no blanks between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese), a run is cut by ICU's
dictionaries. Letters are brought to one form first: NFKC (full-width letters, ligatures, composed accents), lower case.
"""

import re
import unicodedata

from icu4py.breakers import WordBreaker

# Marks that belong to the letter before them, and the two joiners that Persian and Indic words are written with
_MARKS = "".join(chr(code) for code in range(0x20000) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
LETTER = rf"(?:[^\W_][{re.escape(_MARKS)}\u200c\u200d]*)"  # with its marks; a regular expression without groups
_WORD = re.compile(rf"{LETTER}+")
# Thai and Lao, Burmese, Khmer, kana, Han (with the extensions beyond the basic plane)
UNSPACED = (  # what stands between the brackets of a class of a regular expression
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_UNSPACED = re.compile(f"[{UNSPACED}]")


def words(text: str) -> list[str]:
    """The words of a text, in one form, in their order: "num_workers = ８ 默认值" -> num, workers, 8, 默认, 值."""
    return [word for run in _WORD.findall(one_form(text)) for word in segments(run)]


def count_words(text: str) -> int:
    """How many words a text has for its reader: what blanks part, and in scripts without blanks its words."""
    return sum(len(segments(piece)) if is_unspaced(piece) else 1 for piece in text.split())


def one_form(text: str) -> str:
    """Lower case, and one code for what looks the same (NFKC)."""
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).lower()


def segments(run: str) -> list[str]:
    """The words that a run of letters and digits is made of: itself, but in scripts that write no blanks."""
    if run.isascii() or not is_unspaced(run):
        return [run]
    return [word for part in WordBreaker(run, "root") for word in _WORD.findall(part)]


def is_unspaced(text: str) -> bool:
    """Whether a text holds a letter of a script that writes no blanks between words."""
    return bool(_UNSPACED.search(text))
