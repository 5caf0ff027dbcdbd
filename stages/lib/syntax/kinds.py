"""Kinds of questions, and how much each is worth asking."""

from typing import Literal

Kind = Literal[
    "cause", "purpose", "condition", "instruction", "time", "place", "way", "number", "definition", "name", "statement",
    "effect", "complement", "object", "subject",
]  # fmt: skip
# How much a question is worth asking, beside others of its sentence
WORTH: dict[Kind, float] = {
    "cause": 3.0, "instruction": 2.6, "number": 2.6, "condition": 2.2, "definition": 2.2, "purpose": 2.4, "name": 2.2,
    "way": 2.4, "time": 2.2, "effect": 2.0, "statement": 1.8, "place": 2.0, "complement": 2.0, "object": 1.5,
    "subject": 1.4,
}  # fmt: skip
