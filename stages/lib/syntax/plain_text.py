"""A sentence in a form that the parser reads well, and the way back: code names become plain names."""

import re
import unicodedata

_CODE = re.compile(r"`([^`]+)`|\b[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|_\w+)+(?:\(\))?|(?<!\w)--?[a-z][\w\-]*\w")
_BRACKETS = re.compile(r"\s*\([^()]*\)")
_NAME = re.compile(r"\bName(\d+)\b")
LEAST_WORDS = 5  # before a colon or semicolon, where what follows is left out


def masked(text: str) -> tuple[str, list[str]]:
    """(plain, names): code as Name1, Name2, ...; without brackets, emoji and what follows a colon or semicolon."""
    names: list[str] = []

    def mask(match: re.Match[str]) -> str:
        names.append(match[1] or match[0])
        return f"Name{len(names)}"

    plain = _BRACKETS.sub("", _CODE.sub(mask, text))
    plain = "".join(letter for letter in plain if unicodedata.category(letter) not in ("So", "Cf", "Mn"))
    plain = re.sub(r"\s+", " ", plain).strip()
    for sign in (": ", "; "):
        head, found, _ = plain.partition(sign)
        if found and len(head.split()) >= LEAST_WORDS:
            plain = f"{head}."
    return re.sub(r":$", ".", plain), names


def unmasked(text: str, names: list[str]) -> str:
    """The text with its code names."""
    return _NAME.sub(lambda match: names[int(match[1]) - 1] if 0 < int(match[1]) <= len(names) else match[0], text)
