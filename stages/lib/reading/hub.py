"""Documents from data sets, read by the `datasets` library one record after another.

Of a data set on the hub each file is fetched when its first record is asked for, and stays in the hub's cache: a run
that is killed, a second run and a run without network read it there. With `streaming` nothing is kept (for data sets
that are larger than the disk), and a network is needed throughout.

A data set is named as `load_dataset` names it: `org/name` on the hub (then its `revision` is pinned), a local
directory, or a packaged reader (`json`, `parquet`, `csv`, `text`) with `data_files`.
"""

import glob
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import ClassVar, Literal

from stages.lib.core.records import Record
from stages.lib.core.tracked import check_tracked, files_below
from stages.lib.hub.errors import HubError
from stages.lib.hub.repository import COMMIT, Repository
from stages.lib.reading.data_sets import cached_records, streamed_records
from stages.lib.reading.documents import Advance, DocumentStream, as_document
from stages.lib.reading.pinning import BRANCH, commit_of

PACKAGED_READERS = ("csv", "json", "parquet", "text")


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """`kind: hub`: the records of one split of a data set, one document each."""

    key: ClassVar[str] = "sources"  # where the source stands in params.yaml, for messages

    kind: Literal["hub"]
    name: str  # org/name, a local directory, or a packaged reader
    revision: str = ""  # commit hash, 40 hex digits, or main (as it is at the first run); required for org/name
    config: str = ""  # the data set's configuration, e.g. sample-10BT; empty: its default
    split: str = "train"
    data_files: list[str] = field(default_factory=list)  # paths or globs inside the data set; empty: its own choice
    text_key: str = "text"  # the column that holds the text
    source_key: str = "source"  # likewise; a record without it is named by the data set and its number
    streaming: bool = False  # keep none of its files (they are read over the network each time)
    limit: int = 0  # documents at most; 0: all

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ValueError(f"limit: {self.limit} is negative")
        if self.name in PACKAGED_READERS:
            if not self.data_files:
                raise ValueError(f"data_files: the reader {self.name!r} needs its files")
        elif not Path(self.name).is_dir() and self.revision != BRANCH and not COMMIT.fullmatch(self.revision):
            raise ValueError(
                f"revision: {self.revision!r} is no commit hash of 40 hex digits, which the data set {self.name!r} "
                f"needs (it is no local directory): `python -m stages.lib.commands.pin --dataset {self.name}`"
            )

    @property
    def on_hub(self) -> bool:
        """Whether it is none of this machine's."""
        return self.name not in PACKAGED_READERS and not Path(self.name).is_dir()

    @property
    def origin(self) -> str:
        """The data set and, where one is chosen, its configuration."""
        return f"{self.name}/{self.config}" if self.config else self.name

    @property
    def commit(self) -> str:
        """What is read of the hub: the revision, or the commit that `main` was at the first run here; else ""."""
        return commit_of("dataset", self.name, self.revision, self.key) if self.on_hub else ""


def read_hub(source: HubSource, max_chars: int, advance: Advance) -> DocumentStream:
    """Yields one document a record; `advance` counts records.

    Raises:
        ValueError: at the call, when there is no such configuration, split, file or column;
            later, when `datasets` cannot read on (it does not skip broken records). A `HubError`, which says what to
            do, where the hub has no such data set or commit, gives no access, or cannot be reached.
    """
    records = hub_records(source)
    first = next(records, None)
    if first is not None and source.text_key not in first:
        raise ValueError(f"text_key: {source.name!r} has no column {source.text_key!r}; there are {sorted(first)}")
    return _read(source, chain([] if first is None else [first], records), max_chars, advance)


def local_files(source: HubSource) -> list[Path]:
    """The files on this machine that a data set is made of; none of one on the hub."""
    if not Path(source.name).is_dir():
        if source.name not in PACKAGED_READERS:
            return []
        return sorted({Path(file) for name in source.data_files for file in _matches(name)})
    if not source.data_files:
        return sorted(files_below(Path(source.name)))
    return sorted({Path(file) for name in source.data_files for file in _matches(str(Path(source.name, name)))})


def _matches(pattern: str) -> list[str]:
    # Path.glob takes no absolute patterns.
    return [match for match in glob.glob(pattern, recursive=True) if Path(match).is_file()]  # noqa: PTH207


def hub_records(source: HubSource) -> Iterator[Record]:
    """The records of the split, in order, as plain mappings.

    Raises:
        ValueError: see `read_hub`; also for a local file that DVC does not track.
    """
    check_tracked(local_files(source), f"data set {source.name!r}")
    number = 0
    try:
        for record in _records(source):
            yield record
            number += 1
    except HubError:
        raise
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"data set {source.name!r}, after {number} records of {source.split!r}: {error}") from error


def _records(source: HubSource) -> Iterator[Record]:
    config, files = source.config or None, source.data_files or None
    if source.on_hub:
        repository = Repository(kind="dataset", name=source.name, revision=source.commit, key=source.key)
        records = streamed_records if source.streaming else cached_records
        return records(repository, config, files, source.split)
    from datasets import load_dataset  # seconds of import that the other sources need not pay

    return iter(load_dataset(source.name, config, data_files=files, split=source.split, streaming=True))


def _read(source: HubSource, records: Iterator[Record], max_chars: int, advance: Advance) -> DocumentStream:
    version = f"@{source.commit[:12]}" if source.on_hub else ""
    for number, record in enumerate(records):
        where = f"{source.name}{version}:{source.split}[{number}]"
        name = record.get(source.source_key)
        advance(1)
        document = name if isinstance(name, str) and name else where
        yield as_document(document, record.get(source.text_key), where, max_chars, source.origin)
