"""`python -m experiments` in a repository with one short stage, through DVC."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.experiments.made_project import ROOT, make, run, values

LOOP = (sys.executable, "-m", "experiments")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make(tmp_path / "project")


def test_experiments_run_the_commit_and_leave_the_checkout_alone(project: Path) -> None:
    (project / "number.py").write_text("PLUS = 500\n")  # not committed
    (project / "params.yaml").write_text("x: 5\n")
    before = run(project, "git", "status", "--porcelain"), run(project, "git", "diff")
    said = run(project, *LOOP, "-j", "2", "-S", "x=1,2")
    assert "2 in the grid, 0 finished before" in said and "2 run, 2 done, 0 not" in said
    assert values(project) == {"x=1": 101, "x=2": 102}
    assert (run(project, "git", "status", "--porcelain"), run(project, "git", "diff")) == before
    assert run(project, "git", "branch", "--show-current") == "trunk\n"
    assert [file.name for file in sorted((project / ".cache/experiments").iterdir())] == ["x=1.log", "x=2.log"]
    assert "the stage says 1" in (project / ".cache/experiments/x=1.log").read_text()

    said = run(project, *LOOP, "-j", "2", "-S", "x=1,2,3")
    assert "3 in the grid, 2 finished before" in said and "1 run, 1 done, 0 not" in said
    assert (
        "".join(line for line in (project / ".cache/experiments/x=1.log").open() if line.startswith("the stage says"))
        == "the stage says 1\n"
    )
    run(project, "git", "stash")
    shown = run(project, "dvc", "exp", "show", "--csv")
    assert all(f"x={x}" in shown for x in (1, 2, 3))
    run(project, "dvc", "exp", "apply", "x=2")
    assert (project / "params.yaml").read_text() == "x: 2\n" and "102" in (project / "metrics.json").read_text()


def test_what_fails_is_named_with_its_log_and_what_is_killed_is_run_again(project: Path) -> None:
    said = run(project, *LOOP, "-j", "2", "--tries", "2", "-S", "x=13,7,1", code=1)
    assert values(project) == {"x=7": 107, "x=1": 101}
    assert "x=13: not done: .cache/experiments/x=13.log" in said and "3 run, 2 done, 1 not" in said
    log = (project / ".cache/experiments/x=13.log").read_text()
    assert log.count("13 brings bad luck") == 2
    assert (project / ".cache/killed_7").exists()  # its first `dvc exp run` died of kill -9
    assert "SIGKILL" in (project / ".cache/experiments/x=7.log").read_text()


def test_a_loop_that_was_killed_goes_on(project: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("LLMILL_CACHE", None)
    loop = subprocess.Popen([*LOOP, "-S", "x=1,2,3"], cwd=project, env=environment, stdout=subprocess.DEVNULL)
    try:
        while len(values(project)) < 1:
            assert loop.poll() is None
            time.sleep(0.2)
    finally:
        loop.send_signal(signal.SIGKILL)
        loop.wait()
    said = run(project, *LOOP, "-S", "x=1,2,3")
    assert "0 finished before" not in said
    assert values(project) == {"x=1": 101, "x=2": 102, "x=3": 103}
    assert not list((project / ".cache/experiments").glob("*.clone.*"))
