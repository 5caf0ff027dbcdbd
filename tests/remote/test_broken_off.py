"""A push that is broken off loses nothing, leaves nothing false in the bucket, and is gone on with."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.seaweedfs import SeaweedFS
from tests.remote.projects import BUCKET, Project, Store, copied, small_project

FILES, LINES = 60, 150_000  # of about 1.3 MB
FEW = 10  # that are there when it is broken off


def wait_until_a_few_are_there(store: Store) -> None:
    """Returns in the middle of a push."""
    for _ in range(3000):
        page = store.server.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{store.prefix}/", MaxKeys=FEW)
        if page["KeyCount"] >= FEW:
            return
        time.sleep(0.02)
    raise AssertionError("nothing was pushed ")


def pushed_count(said: str) -> int:
    """The number that `dvc push` ends with."""
    found = re.search(r"(\d+) files? pushed", said)
    return int(found[1]) if found else 0


@pytest.fixture(scope="module")
def ran_many(server: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose push takes a while."""
    return small_project(tmp_path_factory.mktemp("many") / "project", Store(server, "nowhere"), FILES, LINES)


@pytest.fixture
def many(ran_many: Project, store: Store, tmp_path: Path) -> Iterator[Project]:
    yield copied(ran_many, tmp_path / "project", store)
    if not store.server.runs:
        store.server.start()


def all_is_there(project: Project, store: Store) -> None:
    """Each object of the project is in the bucket, by its bytes, and no more."""
    contents = store.contents()
    assert contents.sound, contents.told()
    assert contents.sizes.keys() == project.objects().keys()


@pytest.mark.parametrize("killed", ["server", pytest.param("client", marks=pytest.mark.slow)])
def test_killed_in_mid_push_and_pushed_again(many: Project, store: Store, killed: str, tmp_path: Path) -> None:
    with many.started("push", "--jobs", "2", AWS_MAX_ATTEMPTS="1") as process:
        wait_until_a_few_are_there(store)
        if killed == "client":
            process.kill()
        else:
            store.server.kill()
            _, error = process.communicate()
            assert process.returncode != 0
            assert re.search(r"ERROR: .*(\d+ files failed to upload|Could not connect to the endpoint)", error), error
            store.server.start()
    half = store.contents()
    assert FEW <= len(half.sizes) < FILES
    assert half.sound, half.told()
    assert pushed_count(many.dvc("push")) == len(many.objects()) - len(half.sizes)  # it is gone on with
    all_is_there(many, store)
    clone = many.clone(tmp_path / "fresh")
    clone.dvc("pull")
    assert clone.files("data", "models") == many.files("data", "models")


@pytest.mark.slow
def test_a_server_that_is_away_for_seconds_costs_no_push(many: Project, store: Store) -> None:
    with many.started("push", "--jobs", "2", AWS_MAX_ATTEMPTS="10") as process:
        wait_until_a_few_are_there(store)
        store.server.kill()
        store.server.start()
        out, error = process.communicate()
    assert process.returncode == 0, error
    assert pushed_count(out) == len(many.objects())
    all_is_there(many, store)
