"""Two people push to one bucket at once: what both have and what each has alone."""

from collections.abc import Callable

from tests.remote.projects import Project, Store

Fresh = Callable[[Project], Project]


def test_two_clones_push_to_one_bucket_at_once(project: Project, store: Store, fresh: Fresh) -> None:
    other = fresh(project)
    for clone, files in ((project, 300), (other, 320)):  # 300 parts of both are the same
        (clone.place / "params.yaml").write_text(f"files: {files}\nlines: 5\n")
        clone.dvc("repro", "--quiet")
        clone.commit()
    both = project.objects().keys() & other.objects().keys()
    assert len(both) >= 300 and project.objects().keys() != other.objects().keys()
    with project.started("push", "--jobs", "4") as one, other.started("push", "--jobs", "4") as two:
        for process in (one, two):
            out, error = process.communicate()
            assert process.returncode == 0, error
            assert "pushed" in out
    contents = store.contents()
    assert contents.sound, contents.told()
    assert contents.sizes.keys() == project.objects().keys() | other.objects().keys()
    for clone in (project, other):
        assert "in sync" in clone.dvc("status", "--cloud")
