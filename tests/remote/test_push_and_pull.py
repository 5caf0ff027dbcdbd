"""What goes to the bucket and comes back: everything, one stage's outputs, and nothing where nothing has to."""

from collections.abc import Callable

import pytest

from tests.remote.projects import Project, Store

Fresh = Callable[[Project], Project]


def test_status_says_what_is_to_be_pushed_and_then_that_all_is_there(project: Project, store: Store) -> None:
    before = project.dvc("status", "--cloud")
    assert "new:" in before and "data/all.txt" in before and "models/counted" in before
    assert store.contents().sizes == {}
    assert f"{len(project.objects())} files pushed" in project.dvc("push")
    assert "Cache and remote 'store' are in sync." in project.dvc("status", "--cloud")
    contents = store.contents()
    assert contents.sound, contents.told()
    assert contents.sizes == {name: file.stat().st_size for name, file in project.objects().items()}
    assert sum(name.endswith(".dir") for name in contents.sizes) == 2


def test_a_fresh_clone_pulls_the_same_bytes(pushed: Project, fresh: Fresh) -> None:
    clone = fresh(pushed)
    assert clone.files("data", "models") == {}
    assert "deleted:" in clone.dvc("status", "--cloud")  # DVC's word for what is there and not here
    clone.dvc("pull")
    assert clone.files("data", "models") == pushed.files("data", "models")
    assert "up to date" in clone.dvc("status")


def test_one_stages_outputs_come_alone(pushed: Project, fresh: Fresh) -> None:
    clone = fresh(pushed)
    clone.dvc("pull", "count")
    assert clone.files("data", "models") == pushed.files("models")
    assert len(clone.cached()) == 3  # its two files and their list


def test_in_a_fresh_clone_nothing_runs_and_nothing_is_pulled(pushed: Project, fresh: Fresh) -> None:
    clone = fresh(pushed)
    said = clone.dvc("repro", "--pull", "--allow-missing")
    assert "Running stage" not in said
    assert "Data and pipelines are up to date." in said
    assert clone.git("status", "--porcelain") == ""
    assert clone.files("data", "models") == {}


@pytest.mark.slow
def test_an_edit_in_a_fresh_clone_runs_its_stage_on_what_is_pulled_for_it(pushed: Project, fresh: Fresh) -> None:
    clone = fresh(pushed)
    (clone.place / "count.py").write_text((clone.place / "count.py").read_text() + "# edited\n")
    said = clone.dvc("repro", "--pull", "--allow-missing")
    assert "Running stage 'count'" in said
    assert "Running stage 'write'" not in said
    assert clone.files("data", "models") == pushed.files("data", "models")
