"""Names of one kind in a text: what stands side by side in it, joined by "and", "or", "than", "versus"."""

import re

from stages.lib.english.facts import sentences
from stages.lib.english.words import content_words, is_function_word

_NAME = r"(?:`[^`\s]+`|[A-Z][a-z]+(?:[A-Z]\w*)+|[A-Z][A-Z0-9\-]*[A-Z][A-Z0-9]*|[A-Z][a-z]{2,})"
_JOINED = re.compile(
    rf"(?<![\w`\-])({_NAME})(?:,? (?:and|or|than|versus|vs\.?|nor|instead of|rather than|compared (?:with|to)) )"
    rf"({_NAME})(?![\w`\-])"
)
_MOST_SHARED = 0.5  # of a statement's words that another sentence about the other name may share


def swapped_names(statement: str, text: str) -> list[tuple[str, str, str]]:
    """(statement about another name, its name, the other name), for names of the text's own pairs.

    The other name must not stand in the statement, and no sentence about it may say much the same: the statement could
    be true of both.
    """
    found = []
    spans = [text[start:end] for start, end in sentences(text)]
    for match in _JOINED.finditer(text):
        if _has_more(text, *match.span()):
            continue
        for true, false in (match.groups(), match.groups()[::-1]):
            if _shape(true) != _shape(false) or true == false or _places(false, statement):
                continue
            if len(_places(true, statement)) != 1 or f"({true}" in statement or statement.startswith(true + ","):
                continue
            start, end = _places(true, statement)[0]
            if _has_more(statement, start, end):
                continue
            own = content_words(statement) - content_words(true)
            others = [content_words(span) for span in spans if _places(false, span)]
            if own and all(len(own & words) <= _MOST_SHARED * len(own) for words in others):
                found.append((statement[:start] + false + statement[end:], true, false))
    return sorted(set(found))


def _has_more(text: str, start: int, end: int) -> bool:
    """Whether a capital before or behind says that the name is longer: "United States", "Hanover County"."""
    before = text[max(0, start - 30) : start].split(" ")[-2:-1]
    longer = bool(before) and before[0][:1].isupper() and not is_function_word(before[0].lower())
    return not text[start:].startswith("`") and (longer or bool(re.match(r"\s[A-Z]", text[end:])))


def _places(name: str, text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(rf"(?<![\w`\-]){re.escape(name)}(?![\w`\-])", text)]


def _shape(name: str) -> str:
    """Code with or without a call, capitals, or a word: names of one shape can change places."""
    if name.startswith("`"):
        return "call" if "(" in name else "dotted" if "." in name else "code"
    return "capitals" if name.isupper() else "mixed" if re.search(r"[a-z][A-Z]", name) else "word"
