"""What was dropped, as text for a message, and what a person can change about it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stages.lib.reading.documents import Drop

_SOUGHT = "looked for the keys "

_ADVICE = {
    "too_long": "raise max_document_chars",
    "duplicate_document": "the same text came before",
    "duplicate": "the same example came before",
    "empty": "nothing but white space",
    "no_text": "set the source's text_key to the key that holds the text",
    "short_docstring": "lower the source's min_chars",
    "short_paragraph": "lower the source's min_chars",
    "unknown_file_type": "give it a suffix that is read, .txt for plain text",
    "invalid_utf8": "save it as UTF-8",
    "broken_json": "a .json file is one value, a .jsonl file one value a line",
}


def dropped_text(dropped: Mapping[str, int]) -> str:
    """ "3 too_long (raise max_document_chars), 1 empty (...)", the most frequent reason first; "nothing" for none."""
    reasons = sorted((-count, reason) for reason, count in dropped.items() if count)
    advice = {reason: f" ({text})" for reason, text in _ADVICE.items()}
    return ", ".join(f"{-count:,} {reason}{advice.get(reason, '')}" for count, reason in reasons) or "nothing"


def lacks(where: str, reason: str, sought: Sequence[str], found: Iterable[Any]) -> Drop:
    """The drop of a record without any of the keys that were looked for; `keys_told` counts them."""
    names = ", ".join(str(key) or "''" for key in found).encode(errors="backslashreplace").decode() or "none"
    return Drop(where, reason, f"{_SOUGHT}{', '.join(sought)}; found {names}")


def lacking(drops: Iterable[Drop]) -> Counter[tuple[str, str]]:
    """How many of the drops lack a key, by reason and by what was looked for and found."""
    return Counter((drop.reason, drop.detail) for drop in drops if drop.detail.startswith(_SOUGHT))


def keys_told(counted: Counter[tuple[str, str]], most: int = 3) -> str:
    """What `lacking` counted, the commonest first, at most so many; "" where no key is lacking."""
    told = [f"{count:,} {reason}: {detail}" for (reason, detail), count in counted.most_common(most)]
    return "; ".join(told)
