"""Credentials come from the environment or a profile; wrong ones are told plainly, and none is ever in git."""

from pathlib import Path

import pytest

from tests.remote.projects import Project, Store

VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def last_error(project: Project, *command: str) -> str:
    """What a command that fails says at its end; it has to say it without a traceback."""
    done = project.tried(*command)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    return next(line for line in done.stderr.splitlines() if line.startswith("ERROR"))


@pytest.mark.parametrize(
    ("variable", "command"), [(VARIABLES[0], "push"), *((VARIABLES[1], one) for one in ("push", "pull", "status -c"))]
)
def test_a_wrong_key_or_secret_is_told(project: Project, store: Store, variable: str, command: str) -> None:
    project.environment[variable] = "wrong"
    said = last_error(project, *command.split())
    assert "Forbidden" in said and "(403)" in said  # docs/remote.md says what it means
    assert store.contents().sizes == {}


def test_without_credentials_it_says_so(project: Project) -> None:
    for name in VARIABLES:
        project.environment.pop(name)
    assert "Unable to locate credentials" in last_error(project, "push")


def test_a_profile_serves_as_well(project: Project, store: Store, tmp_path: Path) -> None:
    values = [project.environment.pop(name) for name in VARIABLES]
    file = tmp_path / "credentials"
    file.write_text("[team]\naws_access_key_id = {}\naws_secret_access_key = {}\n".format(*values))
    project.environment["AWS_SHARED_CREDENTIALS_FILE"] = str(file)
    project.dvc("remote", "modify", "--local", "store", "profile", "team")
    project.dvc("push")
    assert store.contents().sizes.keys() == project.objects().keys()


def test_no_secret_is_in_git(pushed: Project) -> None:
    secret = pushed.environment["AWS_SECRET_ACCESS_KEY"]
    pushed.dvc("remote", "modify", "--local", "store", "secret_access_key", secret)
    assert secret in (pushed.place / ".dvc/config.local").read_text()
    assert pushed.git("status", "--porcelain", "--untracked-files=all") == ""
    assert ".dvc/config" in pushed.git("ls-files").split()
    assert not [name for name in pushed.git("ls-files").split() if secret in (pushed.place / name).read_text()]
