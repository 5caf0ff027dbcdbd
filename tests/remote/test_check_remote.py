"""What `dvc push` takes for pushed and is not, and the command that finds it and sets it right."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.graph import ROOT
from tests.remote.projects import BUCKET, Project, Store, write_config
from tests.remote.throttle import Throttle

Fresh = Callable[[Project], Project]
SHARED = "models/counted/first.txt"  # the same bytes as data/parts/0000.txt, in another directory


def check(project: Project, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command, in a project that has no stages/ of its own."""
    command = [sys.executable, "-m", "stages.lib.commands.check_remote", *arguments]
    env = project.environment | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=project.place, env=env, capture_output=True, text=True, check=False)


def test_a_file_of_two_directories_that_was_refused_once_is_found_and_brought(
    project: Project, store: Store, fresh: Fresh
) -> None:
    """Without the command this is data lost: see the three lines behind "DVC"."""
    name = project.files("models")[SHARED]
    with Throttle(store.server.url) as throttle:
        write_config(project.place, store, endpointurl=throttle.url)
        throttle.refused.add(name[2:])
        done = project.tried("push", AWS_MAX_ATTEMPTS="1")
        assert done.returncode == 1 and "failed to upload" in done.stderr
        assert len(store.contents().lacking) == 1  # a list without one of its files
        throttle.refused.clear()
        # DVC now pushes the other directory's list too, says that all is well, and nobody can pull.
        project.dvc("push")
        assert "in sync" in project.dvc("status", "--cloud")
        assert len(store.contents().lacking) == 2 and name not in store.contents().sizes
        project.commit()
        clone = fresh(project)
        failed = clone.tried("pull")  # with 1, or with 255 where DVC stumbles over its own temporary file
        assert failed.returncode != 0 and f"failed to transfer '{name}'" in failed.stderr
        found = check(project)
        assert found.returncode == 1 and "2 not whole" in found.stdout and f"lacks {name}" in found.stdout
        repaired = check(project, "--repair")
        assert repaired.returncode == 0 and "deleted" in repaired.stdout
        project.dvc("push")
        assert check(project, "--bytes").stdout.endswith("each object the hash it is named by\n")
        assert store.contents().sizes.keys() == project.objects().keys()
        clone.dvc("pull")
    assert clone.files("data", "models") == project.files("data", "models")


@pytest.mark.slow
def test_a_corrupt_object_is_found_by_its_bytes_and_brought(pushed: Project, store: Store, fresh: Fresh) -> None:
    name = pushed.files("data")["data/parts/0007.txt"]
    size = store.contents().sizes[name]
    store.server.client().put_object(Bucket=BUCKET, Key=store.key(name), Body=b"x" * size)
    assert check(pushed).returncode == 0  # its name is there
    found = check(pushed, "--bytes")
    assert found.returncode == 1 and f"corrupt: {name}" in found.stdout
    assert check(pushed, "--bytes", "--repair").returncode == 0
    assert "2 files pushed" in pushed.dvc("push")  # the object and the list that names it
    contents = store.contents()
    assert contents.sound, contents.told()
    assert contents.sizes.keys() == pushed.objects().keys()


def test_what_is_wrong_with_the_remote_itself_is_told_in_a_line(project: Project) -> None:
    project.environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
    done = check(project)
    assert done.returncode == 1
    assert done.stderr.startswith("check_remote: s3://") and "signature" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "no remote 'other'" in check(project, "--remote", "other").stderr
