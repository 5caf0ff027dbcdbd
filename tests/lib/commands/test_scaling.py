"""The command from a file to tables and picture, and over real DVC experiments."""

import subprocess
import sys
from pathlib import Path

import pytest

from stages.lib.commands.scaling import main
from stages.lib.scaling.runs import read_runs, write_runs
from tests.lib.scaling.made_runs import LARGE, SMALL, made

# What a project needs to be one for the command: a stage `pretrain` that writes what ours writes.
GRAPH = """
stages:
  pretrain:
    cmd: python made.py
    params: [pretrain]
    metrics:
      - metrics/full/pretrain.json: {cache: false}
      - metrics/pretrain_curve.csv: {cache: false}
"""
PARAMS = """
pretrain: {n_layer: 2, n_head: 1, d_model: 16, context: 64, optimizer: adamw, lr: 1.0e-3, steps: 4, batch_tokens: 128,
  seed: 1}
"""
STAGE = """
import json, os
from ruamel.yaml import YAML
params = YAML(typ="safe").load(open("params.yaml"))["pretrain"]
os.makedirs("metrics/full", exist_ok=True)
loss = params["lr"] * 1000
metrics = {"weights": params["d_model"] ** 2, "steps": 4, "matmul_flops": 1e6 * params["d_model"], "val_loss": loss}
metrics |= {"val": {"windows": 9, "standard_error": None}, "data": "abc"}
json.dump([metrics], open("metrics/full/pretrain.json", "w"))
open("metrics/pretrain_curve.csv", "w").write(f"step,train_loss,val_loss,lr,grad_norm\\n4,3,{loss},0,1\\n")
"""


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["scaling", *arguments])
    main()


def test_a_file_is_drawn_again_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, pictures = tmp_path / "runs.csv", [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    runs = [
        made("a", SMALL, 3.0),
        made("b", SMALL, 2.9, lr=0.002),
        made("c", LARGE, 2.5),
        made("d", LARGE, 2.4, seed=2),
    ]
    write_runs(file, [*runs, made("a again", SMALL, 3.0)])
    run(monkeypatch, "--from", str(file), "--picture", str(pictures[0]), "--save", str(tmp_path / "again.csv"))
    assert "scaling: 5 runs -> 4 kept; dropped 1 repeated; 2 setups in " in capsys.readouterr().out
    assert read_runs(tmp_path / "again.csv") == runs
    run(monkeypatch, "--from", str(tmp_path / "again.csv"), "--picture", str(pictures[1]))
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    write_runs(file, [*runs[:3], made("d", LARGE, 2.3, seed=2)])
    run(monkeypatch, "--from", str(file), "--picture", str(pictures[2]))
    assert pictures[2].read_bytes() != pictures[0].read_bytes()


def test_experiments_of_dvc_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (
        ("dvc.yaml", GRAPH),
        ("params.yaml", PARAMS),
        ("made.py", STAGE),
        (".gitignore", "/dvc_plots\n"),
    ):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    for variable in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(variable, "a@b")
    grid = ["-S", "pretrain.lr=1.0e-3,2.0e-3", "-S", "pretrain.d_model=16,32"]
    dvc = [sys.executable, "-m", "dvc"]
    for command in (
        ["git", "init", "-q", "-b", "main"],
        [*dvc, "init", "-q"],
        ["git", "add", "-A"],
        ["git", "commit", "-q", "-m", "start"],
        [*dvc, "exp", "run", "-q", "--queue", "pretrain", *grid],
        [*dvc, "exp", "run", "-q", "--run-all"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    run(monkeypatch, "--save", "runs.csv")
    assert {(one.size.d_model, one.lr, one.val_loss, one.matmul_flops) for one in read_runs(Path("runs.csv"))} == {
        *((16, 0.001, 1.0, 1.6e7), (16, 0.002, 2.0, 1.6e7), (32, 0.001, 1.0, 3.2e7), (32, 0.002, 2.0, 3.2e7)),
    }
    assert "scaling: 4 runs -> all kept; 2 setups in dvc_plots/scaling.png" in capsys.readouterr().out


def test_without_experiments_the_command_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "a"], check=True
    )
    with pytest.raises(ValueError, match=r"experiments of HEAD: no pretraining that came to its end"):
        run(monkeypatch)
