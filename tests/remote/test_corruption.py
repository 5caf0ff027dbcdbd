"""An object whose bytes are not what its name says is noticed with `verify` on; and what DVC does without it."""

from collections.abc import Callable

import pytest

from tests.remote.projects import BUCKET, Project, Store

Fresh = Callable[[Project], Project]
FILE = "data/all.txt"


def corrupt(store: Store, project: Project, path: str) -> str:
    """Changes one byte of a file's object in the bucket; returns its hash."""
    name = project.files(path.rpartition("/")[0])[path]
    content = bytearray((project.place / path).read_bytes())
    content[0] ^= 1
    store.server.client().put_object(Bucket=BUCKET, Key=store.key(name), Body=bytes(content))
    return name


def test_a_corrupt_object_is_not_taken(pushed: Project, store: Store, fresh: Fresh) -> None:
    name = corrupt(store, pushed, FILE)
    contents = store.contents()
    assert contents.corrupt == [name] and f"corrupt: {name}" in contents.told()
    clone = fresh(pushed)
    done = clone.tried("pull")
    assert done.returncode == 1
    assert FILE in done.stderr
    assert name not in clone.cached()
    assert not (clone.place / FILE).exists()
    # What is sound came all the same, and once the object is put right the rest comes too.
    assert clone.files("data/parts") == pushed.files("data/parts")
    good = (pushed.place / FILE).read_bytes()
    store.server.client().put_object(Bucket=BUCKET, Key=store.key(name), Body=good)
    clone.dvc("pull")
    assert clone.files("data", "models") == pushed.files("data", "models")


@pytest.mark.slow
def test_a_corrupt_file_of_a_directory_is_not_taken(pushed: Project, store: Store, fresh: Fresh) -> None:
    name = corrupt(store, pushed, "data/parts/0007.txt")
    clone = fresh(pushed)
    done = clone.tried("pull")
    assert done.returncode == 1
    assert "data/parts" in done.stderr
    assert name not in clone.cached()


@pytest.mark.slow
def test_without_verify_dvc_takes_it_for_good(pushed: Project, store: Store, fresh: Fresh) -> None:
    """Why docs/remote.md has `verify`: this is DVC's default, and the day it changes the page may be shorter."""
    name = corrupt(store, pushed, FILE)
    clone = fresh(pushed)
    clone.dvc("remote", "modify", "--local", "store", "verify", "false")
    clone.dvc("pull")
    assert (clone.place / FILE).read_bytes() != (pushed.place / FILE).read_bytes()
    assert name in clone.cached()
