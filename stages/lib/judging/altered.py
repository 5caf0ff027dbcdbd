"""Answers of the right form and the wrong content: a number or a name changed for another one of the chunk."""

import re

_NUMBER = re.compile(r"(?<![\w.,\-])\d+(?:[.,]\d+)*(?![\w\-])")
_NAME = re.compile(
    r"`[^`\n]+`|(?<![\w.])\w+[._]\w[\w.]*\w|\b[A-Z]{2,}\w*\b|\b[A-Za-z]+[a-z][A-Z]\w*|(?<=[a-z,] )[A-Z][a-z]{2,}\b"
)


def altered_answers(answer: str, question: str, text: str) -> list[str]:
    """The answer with one number, or one name, changed for another of the text that it does not hold itself.

    Of one kind are: digits; code in backquotes; names with dots or underscores; capitals; a capital within; capitalised
    words within a sentence. A name that the question alone tells does not come in. Empty where there is no other one.
    """
    found: dict[str, None] = {}
    for pattern in (_NUMBER, _NAME):
        others: dict[str, list[str]] = {}
        for match in pattern.finditer(text):
            others.setdefault(_kind(match[0]), []).append(match[0])
        own = set(pattern.findall(answer))
        for match in pattern.finditer(answer):
            for other in others.get(_kind(match[0]), []):
                asked = other in question and match[0] not in question
                akin = other.isalpha() and (other in match[0] or match[0] in other)  # "Bowl", "Bowls"
                if other not in own and not akin and not asked:
                    found[answer[: match.start()] + other + answer[match.end() :]] = None
    return list(found)


def _kind(name: str) -> str:
    if name[0] == "`":
        return "code"
    if name[0].isdigit():
        return "number"
    if re.search(r"[._]", name):
        return "dotted"
    if name.isupper():
        return "capitals"
    return "mixed" if re.search(r"[a-z][A-Z]", name) else "word"
