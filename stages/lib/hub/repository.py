"""A repository of a hub at one commit: its list of files, and those that are wanted in huggingface_hub's cache.

Nothing is asked of the hub for what is in the cache, so a second run needs no network. The cache is huggingface_hub's
own ($HF_HOME/hub): what other tools fetched is used, and what we fetch they find.
"""

import re
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.lib.core.progress import Bar
from stages.lib.hub.errors import MOVE, HubError, explained
from stages.lib.hub.transfer import Transfer, git_blob, patiently, sha256

AT_ONCE = 4  # files
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, as the hub lists it."""

    path: str
    size: int  # bytes
    sha256: str  # of a file in LFS, else ""
    git: str  # git's name of its content (of LFS: of the pointer); "": not known

    @property
    def etag(self) -> str:
        """What huggingface_hub names the content by."""
        return self.sha256 or self.git

    def digest(self, place: Path) -> tuple[str, str]:
        """The hash of a file on this machine, and the one that it has to have."""
        if self.sha256:
            return sha256(place), self.sha256
        return (git_blob(place), self.git) if self.git else ("", "")


@dataclass(frozen=True, kw_only=True)
class Repository:
    """ORG/NAME at a commit."""

    kind: Literal["model", "dataset"]
    name: str  # ORG/NAME
    revision: str  # commit hash, 40 hex digits
    key: str  # where params.yaml names it, for messages

    def __post_init__(self) -> None:
        if not COMMIT.fullmatch(self.revision):
            raise HubError(
                f"{self.key}.revision: {self.revision!r} is no commit hash of 40 hex digits (`python -m "
                f"stages.lib.commands.pin {'--dataset ' if self.kind == 'dataset' else ''}{self.name}` prints one)"
            )

    @property
    def folder(self) -> Path:
        """Its place in the cache."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        folder: str = repo_folder_name(repo_id=self.name, repo_type=self.kind)
        return Path(constants.HF_HUB_CACHE) / folder

    @property
    def snapshot(self) -> Path:
        """The directory in which its files stand by their names, if they have been fetched."""
        return self.folder / "snapshots" / self.revision

    def explained(self) -> Any:
        """A context in which errors of the hub become a `HubError`."""
        return explained(self.key, self.kind, self.name, self.revision)

    def files(self) -> list[HubFile]:
        """All its files: as the cache has the list, else as the hub lists them.

        Without a network, those that are in the cache, where another tool put them there without a list.

        Raises:
            HubError: no such repository or commit, no access, no network.
        """
        import httpx
        from huggingface_hub import HfApi
        from huggingface_hub._tree_cache import TreeCacheEntry, read_tree_cache, write_tree_cache
        from huggingface_hub.errors import OfflineModeIsEnabled
        from huggingface_hub.hf_api import RepoFile

        entries = read_tree_cache(str(self.folder), self.revision)
        if entries is None:

            def ask() -> dict[str, TreeCacheEntry]:
                tree = HfApi().list_repo_tree(self.name, repo_type=self.kind, revision=self.revision, recursive=True)
                return {
                    file.path: TreeCacheEntry(
                        size=file.size,
                        blob_id=file.blob_id,
                        lfs_sha256=file.lfs.sha256 if file.lfs else None,
                        lfs_size=file.lfs.size if file.lfs else None,
                        xet_hash=file.xet_hash,
                    )
                    for file in tree
                    if isinstance(file, RepoFile)
                }

            with self.explained():
                try:
                    entries = patiently(ask)
                except (httpx.TransportError, OfflineModeIsEnabled):
                    if not (there := self._there()):
                        raise
                    return there
                write_tree_cache(str(self.folder), self.revision, entries)
        return [
            HubFile(path, entry.lfs_size or entry.size, entry.lfs_sha256 or "", entry.blob_id)
            for path, entry in sorted(entries.items())
        ]

    def _there(self) -> list[HubFile]:
        found = (file for file in self.snapshot.rglob("*") if file.is_file())
        return [
            HubFile(file.relative_to(self.snapshot).as_posix(), file.stat().st_size, "", "") for file in sorted(found)
        ]

    def missing(self, files: Iterable[HubFile]) -> list[HubFile]:
        """Those that are not in the cache with their size."""

        def is_there(file: HubFile) -> bool:
            place = self.snapshot / file.path
            return place.is_file() and place.stat().st_size == file.size

        return [file for file in files if not is_there(file)]

    def fetch(self, files: Sequence[HubFile]) -> Path:
        """The snapshot's directory, in which the files are; those that are missing are fetched.

        Raises:
            HubError: they cannot be fetched, or there is no room for them.
        """
        if missing := self.missing(files):
            with self.explained():
                self._check_room(missing)
                self._fetch(missing, len(files))
        return self.snapshot

    def _check_room(self, missing: Sequence[HubFile]) -> None:
        needed = sum(file.size - self._begun(file) for file in missing)
        place = next(parent for parent in self.folder.parents if parent.exists())
        if (free := shutil.disk_usage(place).free) < needed:
            raise HubError(
                f"{self.key}: {self.name!r} needs {size_text(needed)} more in {self.folder.parent}, where "
                f"{size_text(free)} are free: make room, or {MOVE}"
            )

    def _part(self, file: HubFile) -> Path:
        return self.folder / "blobs" / f"{file.etag}.part"

    def _begun(self, file: HubFile) -> int:
        part = self._part(file)
        return min(part.stat().st_size, file.size) if part.exists() else 0

    def _fetch(self, missing: Sequence[HubFile], wanted: int) -> None:
        started = time.monotonic()
        total, begun = sum(file.size for file in missing), sum(map(self._begun, missing))
        rest = f", {size_text(begun)} of it here from before" if begun else ""
        print(
            f"{self.key}: fetching {len(missing)} of {wanted} files, {size_text(total)}{rest}, of {self.kind} "
            f"{self.name} at {self.revision[:12]} to {self.folder}",
            file=sys.stderr,
        )
        lock, stop, done = threading.Lock(), threading.Event(), 0
        with Bar(f"0/{len(missing)} files", total, initial=begun, unit="B", unit_scale=True) as bar:

            def advance(amount: int) -> None:
                with lock:
                    bar.update(amount)

            def one(file: HubFile) -> None:
                nonlocal done
                try:
                    if not stop.is_set():
                        self._one(file, advance, stop)
                except BaseException:
                    stop.set()
                    raise
                with lock:
                    done += 1
                    bar.set_description(f"{done}/{len(missing)} files", refresh=False)

            with ThreadPoolExecutor(AT_ONCE) as pool:
                try:
                    list(pool.map(one, missing))
                except BaseException:
                    stop.set()
                    raise
        seconds = time.monotonic() - started
        print(f"{self.key}: fetched {size_text(total - begun)} in {seconds:.0f} s, hashes checked", file=sys.stderr)

    def _one(self, file: HubFile, advance: Any, stop: threading.Event) -> None:
        """A blob by ourselves; huggingface_hub then finds it, and puts the file's name to it."""
        from huggingface_hub import hf_hub_download, hf_hub_url
        from huggingface_hub.utils import WeakFileLock

        place = self.snapshot / file.path
        place.unlink(missing_ok=True)  # of another size
        blob = self.folder / "blobs" / file.etag
        lock = self.folder.parent / ".locks" / self.folder.name / f"{file.etag}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):  # the lock that huggingface_hub takes for the same content
            if blob.is_file() and blob.stat().st_size != file.size:
                blob.unlink()
            if not blob.exists():
                url = hf_hub_url(self.name, file.path, repo_type=self.kind, revision=self.revision)
                Transfer(url=url, place=blob, size=file.size, digest=file.digest, advance=advance, stop=stop).run()
        if stop.is_set():
            return
        hf_hub_download(self.name, file.path, repo_type=self.kind, revision=self.revision)
        if place.resolve().name != file.etag:  # a hub that names contents otherwise: fetched by huggingface_hub
            found, expected = file.digest(place)
            if found != expected:
                place.resolve().unlink()
                place.unlink(missing_ok=True)
                raise HubError(
                    f"{self.key}: {file.path} came with the hash {found}, the hub lists {expected}: not used"
                )


def size_text(size: int) -> str:
    """Bytes for people."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
