"""What is told of a chunk beside its text: its source, and the headings that it stands under.

A chunk that is cut out of a page often does not say what it is about. Told with it ("contextual chunk headers"), the
source and the headings are part of what a generator or a judge reads (`qa.tell`), or of what is searched: embedded,
reranked and counted by BM25 (`embed.tell`). The chunk's own text, and every place in it, stay as they are.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from stages.lib.core.records import Record

Tell = Literal["source", "heading"]


def told(chunk: Record, tell: Sequence[Tell]) -> str:
    """The lines that stand before a chunk's text, a blank line behind them; "" where there is nothing to tell."""
    lines = [f"{name.capitalize()}: {chunk[name]}" for name in tell if chunk[name]]
    return "\n".join(lines) + "\n\n" if lines else ""


def told_text(chunk: Record, tell: Sequence[Tell]) -> str:
    """A chunk's text with what is told of it."""
    return told(chunk, tell) + str(chunk["text"])


def title_of(chunk: Record) -> str:
    """What a chunk is a part of, for templates with a place for a title: its headings, else its source."""
    return str(chunk["heading"] or chunk["source"])


def check_tell(value: Any, key: str) -> list[Tell]:
    """The value of a param of another section, which that section's stage has checked too.

    Raises:
        ValueError: not a list of what can be told, each once.
    """
    names = get_args(Tell)
    if not isinstance(value, list) or any(name not in names for name in value) or len(set(value)) < len(value):
        raise ValueError(f"params.yaml: {key}: expected a list of {list(names)}, each at most once, found {value!r}")
    return value
