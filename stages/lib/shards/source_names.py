"""By which name a document's source stands in manifest and metrics: its file, package or data set; not too many."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from stages.lib.corpus.files import FilesSource
from stages.lib.corpus.sources import DocumentSource
from stages.lib.instructions.examples import Docstrings, InstructionFiles, InstructionSource, SpamFiles
from stages.lib.reading.hub import HubSource
from stages.lib.reading.packages import PackagesSource
from stages.lib.reading.patterns import matched_files

MOST_NAMES = 16  # of one entry of `sources`; with more files or packages it goes by its patterns, or by one name


@dataclass(frozen=True)
class SourceNames:
    """The names of all entries together, each once, and which of them a document of an entry has."""

    names: tuple[str, ...]
    by_origin: tuple[dict[str, str], ...]  # of each entry: what a document was read from -> its name

    def number(self, entry: int, origin: str) -> int:
        """The place in `names` of what was read from `origin`, of the entry with this number."""
        return self.names.index(self.by_origin[entry][origin])

    def origin_of(self, entry: int, place: str) -> str:
        """What an instruction example was read from: `place` is `file:line`, `file[key]` or `package==version:name`."""
        fitting = [origin for origin in self.by_origin[entry] if place.startswith(origin)]
        return max(fitting, key=len)


def source_names(sources: Iterable[DocumentSource | InstructionSource]) -> SourceNames:
    """The names of sources.

    Packages and data sets have their own, files their paths. An entry with over 16 files goes by its patterns (a file
    by the first that matches it), and one of over 16 patterns or packages by one name for all.

    Raises:
        ValueError: a pattern matches no file.
    """
    by_origin = tuple(_names_of(source) for source in sources)
    return SourceNames(tuple(dict.fromkeys(name for entry in by_origin for name in entry.values())), by_origin)


def _names_of(source: DocumentSource | InstructionSource) -> dict[str, str]:
    match source:
        case HubSource():
            return {source.origin: source.origin}
        case PackagesSource() | Docstrings():
            return _few_or_one({name: name for name in source.names}, "packages")
        case FilesSource() | InstructionFiles() | SpamFiles():
            files = [str(path) for path in matched_files(source.patterns)]
            if len(files) <= MOST_NAMES:
                return {file: file for file in files}
            # Backwards, so that of two patterns that match a file the first one stays.
            matched = {str(path): pattern for pattern in reversed(source.patterns) for path in matched_files([pattern])}
            return _few_or_one({file: matched[file] for file in files}, "patterns")
        case _:
            assert_never(source)


def _few_or_one(by_origin: dict[str, str], what: str) -> dict[str, str]:
    names = list(dict.fromkeys(by_origin.values()))
    if len(names) <= MOST_NAMES:
        return by_origin
    return dict.fromkeys(by_origin, f"{names[0]} and {len(names) - 1} more {what}")
