"""The sources of documents by kind: one mapping of params.yaml -> a lazy stream of documents and drops."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, assert_never

from stages.lib.core.params import from_mapping
from stages.lib.corpus.files import FilesSource, files_size, read_files
from stages.lib.reading.documents import Advance, Document, DocumentStream
from stages.lib.reading.drop_advice import dropped_text
from stages.lib.reading.hub import HubSource, read_hub
from stages.lib.reading.packages import PackagesSource, packages_size, read_packages

DocumentSource = FilesSource | HubSource | PackagesSource
_KINDS: dict[str, type[DocumentSource]] = {"files": FilesSource, "hub": HubSource, "packages": PackagesSource}


class Work(NamedTuple):
    """How much there is to read, for a progress bar."""

    total: int | None  # None: not known before the end
    unit: str  # what `advance` counts: "B" (bytes) or "record"


def parse_source(content: Any, where: str) -> DocumentSource:
    """Builds the typed source that `content["kind"]` names.

    Raises:
        ValueError: an unknown kind, or a key that is unknown, missing or of another type.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{where}: expected a mapping, found {content!r}")
    kind = content.get("kind")
    if kind not in _KINDS:
        raise ValueError(f"{where}.kind: {kind!r} is not allowed; one of {sorted(_KINDS)}")
    source = from_mapping(_KINDS[kind], content, where)
    if isinstance(source, HubSource):
        object.__setattr__(source, "key", where)
    return source


def read_source(source: DocumentSource, max_chars: int, advance: Advance = lambda _: None) -> DocumentStream:
    """Yields the source's documents and drops lazily, in a fixed order; texts over `max_chars` characters are drops.

    Raises:
        ValueError: at the call, when what the source asks for is not there; at the end, when no document came of it.
    """
    match source:
        case PackagesSource():
            items = read_packages(source, max_chars, advance)
        case FilesSource():
            items = read_files(source, max_chars, advance)
        case HubSource():
            items = read_hub(source, max_chars, advance)
        case _:
            assert_never(source)
    return _limited(source, items)


def hub_commits(sources: Iterable[object]) -> dict[str, str]:
    """The commits that are read of data sets on the hub, by their names."""
    return {source.name: source.commit for source in sources if isinstance(source, HubSource) and source.on_hub}


def work_of(source: DocumentSource) -> Work:
    """What `advance` will be told.

    Raises:
        ValueError: what the source asks for is not there.
    """
    match source:
        case HubSource():
            return Work(source.limit or None, "record")
        case FilesSource():
            return Work(None if source.limit else files_size(source), "B")
        case PackagesSource():
            return Work(None if source.limit else packages_size(source), "B")
        case _:
            assert_never(source)


def _limited(source: DocumentSource, items: DocumentStream) -> DocumentStream:
    documents = 0
    reasons: Counter[str] = Counter()
    for item in items:
        yield item
        if isinstance(item, Document):
            documents += 1
            if documents == source.limit:
                return
        else:
            reasons[item.reason] += 1
    if not documents:
        raise ValueError(f"no document came of {source}; dropped: {dropped_text(reasons)}")
