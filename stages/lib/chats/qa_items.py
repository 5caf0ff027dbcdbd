"""A question on a text with its answer, before it is written for one training or another."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["selected", "abstract", "qasa", "rated", "closed_book", "true_premise", "unanswerable", "false_premise"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a false premise has wrong."""

    type: Literal["default", "parameter", "number", "name", "opposite", "negation", "generated"]
    true: str  # what the text says
    false: str  # what the question takes for granted


@dataclass(frozen=True, kw_only=True)
class QAItem:
    """One question."""

    id: str
    kind: Kind
    source: str  # document or paper: the split is by it
    title: str = ""  # of the text; the context begins with it
    context: str  # the text that is shown with the question, its title above it; empty for closed_book
    question: str
    answer: str
    made_by: str  # a generator's name, `pairing`, `rules`, or `people`
    evidence: str = ""  # the statement of the context that answers the question, readable
    reasoning: str = ""  # people's own, from the evidence to the answer
    opening: str = ""  # the question's first words, where a rule wrote them
    change: Change | None = None  # of a false premise
    pair: str = ""  # of a premise: the same for a false one and the true ones that were taken with it
    question_of: str = ""  # the item whose question or fact an edge case was made from
