"""Headings that say what one learns below them: "Exporting a model to ONNX" -> how do you export a model to ONNX."""

import re
from collections.abc import Iterator, Sequence

from stages.lib.syntax.clauses import said
from stages.lib.syntax.parser import parsed
from stages.lib.syntax.standing_alone import fits

LEAST_WORDS = 3  # of a heading
_NUMBER = re.compile(r"^\s*(?:step\s*)?[\d.]+[.):]?\s+|^[^\w`]+", re.IGNORECASE)
_NO_STEP = frozenset("use get see run try start work make understand learn know introduce overview train test".split())


def questions_of_headings(headings: Sequence[str]) -> Iterator[str]:
    """For each heading the question of how to do what it names, without its mark; "" where it names no doing."""
    plain = [_NUMBER.sub("", heading.replace("`", "")).strip() for heading in headings]
    for heading, document in zip(plain, parsed(plain), strict=True):
        spans = list(document.sents)
        if len(spans) != 1 or len(heading.split()) < LEAST_WORDS or not heading[0].isupper() or heading.endswith("?"):
            yield ""
            continue
        root, first = spans[0].root, spans[0][0]
        how_to = re.match(r"how to\s+", heading, re.IGNORECASE)
        doing = first.tag_ in ("VB", "VBG", "VBP") and root.i == 0 and first.lemma_ not in _NO_STEP
        if how_to:
            text = f"How do you {heading[how_to.end() :]}"
        elif doing:
            rest = [token for token in spans[0] if token.i > 0]
            text = f"How do you {first.lemma_.lower()} {said(rest)}"
        else:
            text = ""
        yield text if text and fits(text, spans[0]) else ""
