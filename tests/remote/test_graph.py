"""The project's own dvc.yaml through the bucket, with small made-up outputs."""

import shutil
from pathlib import Path

import pytest

from bench.seaweedfs import SeaweedFS
from tests.graph import ROOT
from tests.made_up_run import made_up_run
from tests.remote.projects import Project, Store, environment, write_config


@pytest.fixture(scope="module")
def graph(server: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Store]:
    """The graph, run as far as DVC can tell, committed and pushed."""
    store = Store(server, "graph")
    place = made_up_run(tmp_path_factory.mktemp("graph") / "llmill")
    write_config(place, store)
    shutil.copy(ROOT / ".gitignore", place / ".gitignore")
    project = Project(place, environment(server))
    project.git("init", "--quiet")
    project.commit()
    project.dvc("push")
    return project, store


def test_the_bucket_has_each_output_of_the_graph(graph: tuple[Project, Store]) -> None:
    project, store = graph
    contents = store.contents()
    assert contents.sound, contents.told()
    assert contents.sizes.keys() == project.objects().keys()
    assert "in sync" in project.dvc("status", "--cloud")


def test_in_a_fresh_clone_nothing_of_the_graph_runs(graph: tuple[Project, Store], tmp_path: Path) -> None:
    project, _ = graph
    clone = project.clone(tmp_path / "fresh")
    said = clone.dvc("repro", "--pull", "--allow-missing")
    assert "Running stage" not in said
    assert "Data and pipelines are up to date." in said
    assert clone.git("status", "--porcelain") == ""
    assert not (clone.place / "models").exists()


def test_a_stage_of_the_graph_is_pulled_alone(graph: tuple[Project, Store], tmp_path: Path) -> None:
    project, _ = graph
    clone = project.clone(tmp_path / "fresh")
    clone.dvc("pull", "gguf")
    assert clone.files("data", "models") == project.files("models/gguf")
    assert clone.files("models/gguf")
