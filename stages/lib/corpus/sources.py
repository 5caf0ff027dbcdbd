"""The sources of documents by kind: one mapping of params.yaml -> a lazy stream of documents and drops."""

from collections.abc import Mapping
from typing import Any

from stages.lib.corpus.documents import Advance, Document, Items
from stages.lib.corpus.packages import PackagesSource, packages_size, read_packages
from stages.lib.params import from_mapping

Source = PackagesSource
_KINDS: dict[str, type[Source]] = {"packages": PackagesSource}


def parse_source(content: Any, where: str) -> Source:
    """Builds the typed source that `content["kind"]` names.

    Raises:
        ValueError: an unknown kind, or a key that is unknown, missing or of another type.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{where}: expected a mapping, found {content!r}")
    kind = content.get("kind")
    if kind not in _KINDS:
        raise ValueError(f"{where}.kind: {kind!r} is not allowed; one of {sorted(_KINDS)}")
    return from_mapping(_KINDS[kind], content, where)


def read_source(source: Source, max_chars: int, advance: Advance = lambda _: None) -> Items:
    """Yields the source's documents and drops lazily; `advance` hears of every byte read, for a progress bar.

    Raises:
        ValueError: what the source asks for is not there (at the call), or it has no document at all (at the end).
    """
    return _limited(source, read_packages(source, max_chars, advance))


def source_size(source: Source) -> int | None:
    """The sum of what `advance` will be told, or None when that is not known beforehand."""
    return None if source.limit else packages_size(source)


def _limited(source: Source, items: Items) -> Items:
    documents = 0
    reasons: dict[str, int] = {}
    for item in items:
        yield item
        if isinstance(item, Document):
            documents += 1
            if documents == source.limit:
                return
        else:
            reasons[item.reason] = reasons.get(item.reason, 0) + 1
    if not documents:
        raise ValueError(f"no document in {source}; dropped by reason: {reasons}")
