"""Refusals: saying that a text does not tell what is asked."""

from stages.lib.core.params import fill
from stages.lib.english.question_clause import asked_phrase
from stages.lib.statistics.drawing import fraction_of


def variant(lines: str, name: str) -> str:
    """One of a prompt's lines, by hash of the name.

    Raises:
        ValueError: there is no line.
    """
    variants = [line.strip() for line in lines.splitlines() if line.strip()]
    if not variants:
        raise ValueError("a prompt of one variant a line has no line")
    return variants[int(fraction_of("variant", name) * len(variants))]


def refusal(question: str, opening: str, variants: str, name: str) -> str:
    """A refusal that says what is missing: what the question asks for, in one of the variants."""
    return fill(variant(variants, name), asked=asked_phrase(question, opening))
