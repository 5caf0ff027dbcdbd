"""A sentence in a form that the parser reads well, and the way back: code names become plain names."""

import re
import unicodedata

from stages.lib.english.verbs import BASES

_CODE = re.compile(r"`([^`]+)`|\b[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|_\w+)+(?:\(\))?|(?<!\w)--?[a-z][\w\-]*\w")
_BRACKETS = re.compile(r"\s*\([^()]*\)")
_NAME = re.compile(r"\bName(\d+)\b")
# Words that only tie a sentence to the one before
_TIES = re.compile(
    r"^(?:(?:then|next|finally|first(?:ly)?|second(?:ly)?|lastly|now|also|and|so|but|therefore|additionally|however|"
    r"moreover|furthermore|in addition|please|simply|generally|by default|alternatively|afterwards?|"
    r"note(?: also)? that|(?:please |also )?note that|"
    r"remember that|keep in mind that|note:|tip:|important:|warning:),?\s+)+",
    re.IGNORECASE,
)
LEAST_WORDS = 5  # before a colon or semicolon, where what follows is left out


def masked(text: str) -> tuple[str, list[str]]:
    """(plain, names): code as Name1, Name2, ...; without brackets, emoji and what follows a colon or semicolon.

    An order gets a subject ("You should call ..."), and words that tie it to the sentence before go.
    """
    names: list[str] = []

    def mask(match: re.Match[str]) -> str:
        names.append(match[1] or match[0])
        return f"Name{len(names)}"

    plain = _BRACKETS.sub("", _CODE.sub(mask, text))
    plain = "".join(letter for letter in plain if unicodedata.category(letter) not in ("So", "Cf", "Mn"))
    plain = _TIES.sub("", re.sub(r"\s+", " ", plain).strip())
    first, _, rest = plain.partition(" ")
    if first.lower() in BASES and not re.match(r"(is|are|of|was|can|has|will)\b", rest):  # taken for a name at times
        plain = f"You should {first.lower()} {rest}"
    plain = plain[:1].upper() + plain[1:]
    for sign in (": ", "; "):
        head, found, _ = plain.partition(sign)
        if found and len(head.split()) >= LEAST_WORDS:
            plain = f"{head}."
    return re.sub(r":$", ".", plain), names


def unmasked(text: str, names: list[str]) -> str:
    """The text with its code names."""
    return _NAME.sub(lambda match: names[int(match[1]) - 1] if 0 < int(match[1]) <= len(names) else match[0], text)
