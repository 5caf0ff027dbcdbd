"""How far a run of the stage shard has come: finished shards and where the next one starts, safe against kill -9."""

import importlib.metadata
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from stages.lib.core.hashes import file_sha256
from stages.lib.core.records import Record, read_json_object, write_json
from stages.lib.corpus.files import FilesSource
from stages.lib.corpus.sources import DocumentSource
from stages.lib.instructions.examples import InstructionFiles, InstructionSource, SpamFiles
from stages.lib.reading.hub import HubSource, local_files
from stages.lib.reading.patterns import matched_files
from stages.lib.shards.reading import SPLITS, ShardSplit, documents_name


class ShardPosition(NamedTuple):
    """A token of a split: the document's number there, and how many of its tokens come before."""

    document: int
    offset: int


class ShardState:
    """The shards that are on the disk, in `root/shards`, and `root/state.json`, which says so.

    A shard counts once the state names it; one whose files are not what the state says is written again, with all
    that follow it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directory = root / "shards"
        self.shards: dict[ShardSplit, list[Record]] = {split: [] for split in SPLITS}
        self._next: dict[ShardSplit, list[ShardPosition]] = {split: [] for split in SPLITS}  # behind each shard
        self._load()
        self._remove_others()

    def next(self, split: ShardSplit) -> ShardPosition:
        """Where the split's next shard starts."""
        return self._next[split][-1] if self._next[split] else ShardPosition(0, 0)

    def add(self, split: ShardSplit, record: Record, following: ShardPosition) -> None:
        """Notes a shard that is on the disk, and where the next one starts."""
        self.shards[split].append(record)
        self._next[split].append(following)
        content = {
            split: [
                {**record, "next": list(position)}
                for record, position in zip(self.shards[split], self._next[split], strict=True)
            ]
            for split in SPLITS
        }
        write_json(self._file, content)

    @property
    def _file(self) -> Path:
        return self.root / "state.json"

    def _load(self) -> None:
        if not self._file.is_file():
            return
        content = read_json_object(self._file)
        for split in SPLITS:
            for record in content[split]:
                document, offset = record.pop("next")
                if not self._is_whole(record):
                    break
                self.shards[split].append(record)
                self._next[split].append(ShardPosition(document, offset))

    def _remove_others(self) -> None:
        """Takes away what a killed run left half-written, and shards that are written again."""
        files = [record["file"] for records in self.shards.values() for record in records]
        named = {*files, *map(documents_name, files)}
        for path in self.directory.glob("*"):
            if path.name not in named:
                path.unlink()

    def _is_whole(self, record: Record) -> bool:
        tokens, documents = self.directory / record["file"], self.directory / documents_name(record["file"])
        if not tokens.is_file() or not documents.is_file():
            return False
        found = {"sha256": file_sha256(tokens), "documents_sha256": file_sha256(documents)}
        return found == {key: record[key] for key in found}


def source_identity(source: DocumentSource | InstructionSource) -> Record:
    """What decides a source's documents: its settings, and the content of its files or the version of its packages.

    Raises:
        ValueError: what the source asks for is not there.
    """
    if isinstance(source, FilesSource | InstructionFiles | SpamFiles):
        files = matched_files(source.patterns)
    elif isinstance(source, HubSource) and source.on_hub:  # a hub data set's commit says it all
        return {**asdict(source), "revision": source.commit, "streaming": False, "sha256": {}}
    elif isinstance(source, HubSource):
        files = local_files(source)
    else:
        return {**asdict(source), "versions": [importlib.metadata.version(name) for name in source.names]}
    return {**asdict(source), "sha256": {str(file): file_sha256(file) for file in files}}
