"""Runs are read from what experiments committed; what is none is counted by reason."""

import json
import subprocess
from pathlib import Path

import pytest

from stages.lib.scaling.experiments import gather, git, read_run
from stages.lib.scaling.runs import Budget, Run, Size, Validation
from tests.lib.scaling.made_runs import files


def test_a_run_is_what_pretrain_ran_with() -> None:
    kept = files()
    run = read_run("nifty-name", kept.__getitem__)
    assert run == Run(
        name="nifty-name",
        size=Size(1_234, 2, 1, 16),  # of dvc.lock; params.yaml says 99 layers
        optimizer="muon",
        lr=0.002,
        budget=Budget(4, 128),
        seed=3,
        data="ab" * 32,
        val_windows=9,
        context=64,
        matmul_flops=8e6,
        val_loss=2.5,
        val_standard_error=0.02,
        curve=(
            Validation(step=2, matmul_flops=4e6, val_loss=3.5),
            Validation(step=4, matmul_flops=8e6, val_loss=2.5),
        ),
    )


@pytest.mark.parametrize("lost", ["dvc.lock", "metrics/full/pretrain.json", "metrics/pretrain_curve.csv"])
def test_an_experiment_without_pretraining_says_so(lost: str) -> None:
    kept = files()
    del kept[lost]
    assert read_run("a", kept.__getitem__) == "no_pretraining"


@pytest.mark.parametrize("lost", ["matmul_flops", "val"])
def test_metrics_of_older_code_are_told(lost: str) -> None:
    kept = files()
    (metrics,) = json.loads(kept["metrics/full/pretrain.json"])
    del metrics[lost]
    kept["metrics/full/pretrain.json"] = json.dumps([metrics])
    assert read_run("a", kept.__getitem__) == "of_older_code"


def commit(place: Path, content: dict[str, str], message: str) -> str:
    """Commits files on the branch; returns the commit."""
    for name, text in content.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    git("add", "-A", at=place)
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", message, at=place)
    return git("rev-parse", "HEAD", at=place).strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits; two experiments of the first (one without pretraining), one of the second, and DVC's own refs."""
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    starts = [commit(tmp_path, {}, "first"), commit(tmp_path, {}, "second")]
    experiments = [
        (starts[0], "happy-one", commit(tmp_path, files(seed=1), "x")),
        (starts[1], "later-one", commit(tmp_path, files(seed=2), "y")),
        (starts[0], "empty-one", starts[0]),
    ]
    for start, name, found in experiments:
        git("update-ref", f"refs/exps/{start[:2]}/{start[2:]}/{name}", found, at=tmp_path)
    git("update-ref", "refs/exps/exec/EXEC_HEAD", starts[0], at=tmp_path)
    git("update-ref", "refs/exps/celery/failed", starts[0], at=tmp_path)
    git("reset", "-q", "--hard", starts[1], at=tmp_path)
    return tmp_path


def test_experiments_of_a_commit_are_gathered(repository: Path) -> None:
    runs, left_out = gather("HEAD", at=repository)
    assert ([run.name for run in runs], dict(left_out)) == (["later-one"], {"of_another_commit": 2})
    runs, left_out = gather("HEAD~1", at=repository)
    assert [run.name for run in runs] == ["happy-one"]
    assert dict(left_out) == {"of_another_commit": 1, "no_pretraining": 1}


def test_experiments_of_any_commit_and_by_name(repository: Path) -> None:
    runs, left_out = gather(None, at=repository)
    assert {(run.name, run.seed) for run in runs} == {("happy-one", 1), ("later-one", 2)}
    assert dict(left_out) == {"no_pretraining": 1}
    assert [run.name for run in gather(None, "lat", at=repository)[0]] == ["later-one"]


def test_an_unknown_commit_is_named(repository: Path) -> None:
    with pytest.raises(ValueError, match=r"no-such-branch"):
        gather("no-such-branch", at=repository)
