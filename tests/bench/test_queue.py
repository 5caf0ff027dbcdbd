"""bench.queue counts what it should, and the loop of `experiments` loses nothing while it is killed."""

from pathlib import Path

import pytest

from bench.queue import OUTCOMES, Project, kind_of, measured


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("python /bin/dvc exp queue-worker dvc-exp-1@localhost --clean", "worker"),
        ("python /bin/dvc exp exec-run --infofile x.run", "task"),
        ("python /bin/dvc exp run --name x-1 -S x=1", "task"),
        ("python stage.py", "stage"),
        ("python -m experiments -j 4 -S x=1,2", "worker"),
        ("xargs -P 4 -I{} sh -c ...", "worker"),
        ("python /bin/dvc queue start -j 4", ""),
        ("git fetch", ""),
    ],
)
def test_processes_are_told_apart(line: str, kind: str) -> None:
    assert kind_of(line.split()) == kind


def test_what_has_no_result_is_counted_as_that(tmp_path: Path) -> None:
    project = Project(tmp_path / "project", "grid", experiments=4, jobs=1)
    project.make()
    head = project.run("git", "rev-parse", "HEAD").strip()
    for x, square in ((1, 1), (2, 5)):
        (project.place / "metrics.json").write_text(f'{{"square": {square}}}')
        project.run("git", "add", "metrics.json")
        project.run("git", "commit", "--quiet", "--message", "a result")
        project.run("git", "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/x={x}", "HEAD")
    (project.place / ".cache/experiments").mkdir(parents=True)
    (project.place / ".cache/experiments/x=3.log").write_text("it failed\n")
    found = project.outcomes()
    assert found == {"x=1": "done", "x=2": "wrong", "x=3": "failed, log", "x=4": "failed, no log"}


@pytest.mark.slow
def test_the_loop_loses_nothing_while_it_is_killed() -> None:
    row = measured("grid", experiments=5, jobs=2, kills=4, seed=0)
    assert sum(row[f"killed {kind}s"] for kind in ("worker", "task", "stage")) > 0
    assert {outcome: row[outcome] for outcome in OUTCOMES} == dict.fromkeys(OUTCOMES, 0) | {"done": 5}


@pytest.mark.slow
def test_nothing_is_killed_and_the_queue_is_done() -> None:
    row = measured("queue", experiments=3, jobs=2, kills=0, seed=0)
    assert row["done"] == 3 and sum(row[outcome] for outcome in OUTCOMES) == 3
