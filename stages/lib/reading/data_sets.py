"""The records of a data set on a hub, file after file out of the cache, or streamed."""

import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from stages.lib.core.records import Record
from stages.lib.hub.errors import HubError
from stages.lib.hub.repository import Repository, size_text

DESCRIPTION = ("README.md", ".huggingface.yaml", "dataset_infos.json")  # what datasets reads of configurations


def cached_records(
    repository: Repository, config: str | None, data_files: list[str] | None, split: str
) -> Iterator[Record]:
    """Yields the records of a split; each of its files is fetched when the one before is read.

    Which files these are is for `datasets` to say: it is shown a folder in which all files of the repository stand by
    their names, empty but for those that describe its configurations. So nothing is asked of the hub for what the
    cache has, and configurations, globs and splits mean what they mean to `load_dataset`.

    Raises:
        HubError: the hub has no such data set or commit, gives no access, or cannot be reached.
        ValueError, FileNotFoundError: no such configuration, split or file, or one that cannot be read.
    """
    from datasets import load_dataset_builder
    from datasets.data_files import DataFilesDict, DataFilesList

    listed = {file.path: file for file in repository.files()}
    with tempfile.TemporaryDirectory(prefix="llmill-hub-") as folder:
        root = Path(folder).resolve() / repository.name.split("/")[-1]
        for path in listed:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()

        def put(*paths: str) -> None:
            """Fetches files, and lets them stand in the folder."""
            snapshot = repository.fetch([listed[path] for path in paths])
            for path in paths:
                (root / path).unlink()
                (root / path).symlink_to(snapshot / path)

        put(*(path for path in DESCRIPTION if path in listed))
        try:
            builder = load_dataset_builder(str(root), config, data_files=data_files)
        except zipfile.BadZipFile as error:  # what is inside of archives decides who reads them
            raise HubError(
                f"{repository.key}: {repository.name} keeps its files in archives: set `streaming: true`"
            ) from error
        except (ValueError, FileNotFoundError) as error:
            asked = f" (data_files: {data_files})" if data_files else ""
            raise ValueError(_without(folder, error) + asked) from error
        splits = builder.config.data_files or {}
        if split not in splits:
            raise ValueError(f"Bad split: {split}. Available splits: {[str(name) for name in splits]}")
        places = list(splits[split])
        paths = [Path(place).relative_to(root).as_posix() for place in places if Path(place).is_relative_to(root)]
        if len(paths) < len(places):
            raise HubError(f"{repository.key}: {repository.name} names files of other places: set `streaming: true`")
        size = size_text(sum(listed[path].size for path in paths))
        print(
            f"{repository.key}: {repository.name} at {repository.revision[:12]}, {config or 'its default'}, {split}: "
            f"{len(paths)} files, {size}; each is fetched as reading comes to it, and kept",
            file=sys.stderr,
        )
        for place, path in zip(places, paths, strict=True):
            put(path)
            builder.config.data_files = DataFilesDict({split: DataFilesList([place], [("",)])})
            try:
                yield from builder.as_streaming_dataset(split=split)
            except (ValueError, OSError) as error:
                raise ValueError(f"{path}: {_without(folder, error)}") from error


def streamed_records(
    repository: Repository, config: str | None, data_files: list[str] | None, split: str
) -> Iterator[Record]:
    """The same over the network, with nothing kept.

    Raises:
        HubError, ValueError, FileNotFoundError: as `cached_records`, at any record.
    """
    from datasets import load_dataset
    from huggingface_hub import HfApi

    with repository.explained():
        HfApi().auth_check(repository.name, repo_type=repository.kind)  # datasets does not tell why it gets none
        repository.files()
        yield from load_dataset(
            repository.name, config, data_files=data_files, split=split, revision=repository.revision, streaming=True
        )


def _without(folder: str, error: BaseException) -> str:
    """An error's text without our temporary folder."""
    return str(error).replace(f"{Path(folder).resolve()}/", "")
