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
    r"moreover|furthermore|in addition|please|simply|generally|by default|alternatively|afterwards?|notably|again|"
    r"similarly|specifically|consequently|hence|thus|fortunately|unfortunately|as a result|in particular|in this case|"
    r"as you can see|in short|(?:please |also )?note(?: also| here)? that|"
    r"(?:it is|it's) worth (?:noting|mentioning) that|"
    r"(?:we|the authors|researchers) (?:show|find|found|observe|demonstrate|note|argue|believe|recommend) that|"
    r"remember that|keep in mind that|note:|tip:|important:|warning:),?\s+)+",
    re.IGNORECASE,
)
_ONE = re.compile(
    r"(?<![\w'-])one (?=(?:can|could|may|might|should|must|needs? to|has to|simply|just)\b)", re.IGNORECASE
)
# A list's entry that lacks its "was": "BERT released with the paper ..."
_PARTICIPLE = re.compile(
    r"^((?:[A-Z][\w.\-]*)(?: [A-Z\d][\w.\-]*){0,3}) "
    r"(?=(?:released|introduced|proposed|published|presented) (?:with|by|in)\b)"
)
_IS_LABEL = re.compile(r"(?!Name\d|You |He |She |It |They |I |We )[\w\-]+(?: (?:and |or |of )?[\w\-]+){1,3}$")
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
    plain = _ONE.sub("you ", _TIES.sub("", re.sub(r"\s+", " ", plain).strip()))
    plain = _PARTICIPLE.sub(r"\1 was ", plain)
    first, _, rest = plain.partition(" ")
    if first.lower() in BASES and not re.match(r"(is|are|of|was|can|has|will)\b", rest):  # taken for a name at times
        plain = f"You should {first.lower()} {rest}"
    plain = plain[:1].upper() + plain[1:]
    label, found, rest = plain.partition(": ")
    if found and len(label.split()) < LEAST_WORDS <= len(rest.split()) and _IS_LABEL.match(label):
        plain = rest[:1].upper() + rest[1:]  # "Customer service: X can ..."
    for sign in (": ", "; "):
        head, found, _ = plain.partition(sign)
        if found and len(head.split()) >= LEAST_WORDS:
            plain = f"{head}."
    return re.sub(r":$", ".", plain), names


def unmasked(text: str, names: list[str]) -> str:
    """The text with its code names."""
    return _NAME.sub(lambda match: names[int(match[1]) - 1] if 0 < int(match[1]) <= len(names) else match[0], text)
