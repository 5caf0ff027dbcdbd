"""Words that say the opposite of each other and can stand in each other's place."""

import re
from collections.abc import Iterator

_PAIRS = """
    increased decreased, increases decreases, increase decrease, increasing decreasing, greater smaller, larger smaller,
    longer shorter, older younger, faster slower, better worse, stronger weaker, earlier later, before after,
    positively negatively, improved worsened, improves worsens, above below, highest lowest, largest smallest,
    fastest slowest, best worst, maximum minimum, majority minority, enabled disabled, enables disables,
    easier harder, higher lower
"""
_PARTNERS = [tuple(pair.split()) for pair in " ".join(_PAIRS.split()).split(",")]
OPPOSITES = {a: b for first, second in _PARTNERS for a, b in ((first, second), (second, first))}
# "the lower limb" has no higher one
_FIXED = re.compile(
    r"(?:limbs?|extremit\w+|back|lip|jaw|abdom\w+|respiratory|urinary|gastro\w*|bound|case|triangular|education|"
    r"school|and|or|than expected)\b"
)
# Of these only what compares or tells a time: "after all", "as above", "well before" stay
_NEEDS = {
    "before": r"(?:the|a|an|each|every|any|its|their|treatment|surgery|training|and)\b|\w+ing\b",
    "after": r"(?:the|a|an|each|every|any|its|their|treatment|surgery|training|and)\b|\w+ing\b",
    "higher": r"(?:than|in|for|among|with|rates?|levels?|risk|odds|scores?|values?)\b",
    "lower": r"(?:than|in|for|among|with|rates?|levels?|risk|odds|scores?|values?)\b",
    "above": r"(?:the|a|\d)",
    "below": r"(?:the|a|\d)",
    "earlier": r"than\b",
    "later": r"than\b",
    "better": r"(?:than|in|for|with|among)\b",
    "worse": r"(?:than|in|for|with|among)\b",
    "older": r"than\b",
    "younger": r"than\b",
}


def opposed(statement: str) -> Iterator[tuple[str, str, str]]:
    """Yields (statement with one word in its opposite, the word, its opposite).

    A word is left alone where its opposite stands in the statement as well, where it is part of a fixed term, and where
    two numbers may say which is the greater.
    """
    numbers = len(re.findall(r"\d[\d.,]*", statement))
    words = set(re.findall(r"[a-z]+", statement.lower()))
    for match in re.finditer(r"(?<![\w`.\-])[a-z]+(?![\w`\-])", statement):
        other = OPPOSITES.get(match[0])
        if other is None or other in words or statement.count(match[0]) > 1:
            continue
        before, after = statement[: match.start()].lower().split()[-1:], statement[match.end() :].lstrip()
        if before in (["a"], ["an"]) and (match[0][0] in "aeiou") != (other[0] in "aeiou"):
            continue
        if before in (["no"], ["any"]) or (match[0] in ("before", "after") and before in (["and"], ["or"])):
            continue
        if numbers > 1 and match[0] not in ("before", "after"):
            continue
        if _FIXED.match(after) or not re.match(_NEEDS.get(match[0], ""), after):
            continue
        yield statement[: match.start()] + other + statement[match.end() :], match[0], other
