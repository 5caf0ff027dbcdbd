"""`dvc plots` of dvc.yaml on what the stages write with other params: no plot may fail or leave something out."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stages.lib.core.params import read_yaml
from stages.lib.core.records import write_csv
from stages.lib.curves.curve_picture import publish_curve
from stages.lib.curves.curves import Curve
from stages.lib.curves.score_curve import ScoreCurve
from stages.lib.grpo.reward_curve import draw_rewards, reward_rows
from stages.lib.grpo.rewards import Name
from stages.lib.grpo.settings import curve_rows
from stages.lib.hellaswag.together import COLUMNS

ROOT = Path(__file__).parent.parent
PLOTS: list[Any] = read_yaml(ROOT / "dvc.yaml")["plots"]
REWARDS: list[Name] = ["format", "overlap", "similarity", "grounded", "length"]
PICTURE = bytes.fromhex(  # a PNG of one pixel
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c6360000000020001"
    "48afa4710000000049454e44ae426082"
)


def dvc(place: Path, *arguments: str) -> Any:
    """What a `dvc` command prints as JSON."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["dvc", *arguments, "--json"]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "failed to load" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def train(place: Path, rewards: Sequence[Any], *, beta: float = 0.02) -> None:
    """What the stage grpo publishes of three steps with these rewards."""
    history = [
        {"step": step, "loss": 0.1, "reward": 1.5, "reward_std": 0.2, "entropy": 0.3, "learning_rate": 1e-4}
        | ({"kl": 0.01} if beta else {})
        | {f"rewards/{name}/{kind}": 0.1 * step for name in rewards for kind in ("mean", "std")}
        for step in (1, 2, 3)
    ]
    rows = curve_rows(history, rewards)
    write_csv(place / "metrics/grpo_curve.csv", rows)
    write_csv(place / "data/grpo/rewards.csv", reward_rows(rows, rewards))
    draw_rewards(place / "data/grpo/curve.png", rows, rewards, "a toy")


def teach(place: Path, name: str, *, evaluated: bool) -> None:
    """What pretrain and finetune publish of three steps."""
    curve = Curve(place / f"{name}.csv")
    for step in (1, 2, 3):
        loss = {"val_loss": 2.0} if evaluated and step == 3 else {}
        curve.append(step, {"train_loss": 3.0 - 0.1 * step, "lr": 1e-3, "grad_norm": 1.0, **loss})
    publish_curve(curve.points, 1, place / f"metrics/{name}_curve.csv", place / f"data/{name}/curve.png")
    curve.close()


def score(place: Path, scores: Sequence[float]) -> None:
    """What pretrain publishes of HellaSwag in training, a score every 50 steps."""
    curve = ScoreCurve(place / "scores.csv", COLUMNS)
    curve.rows = {50 * i: dict.fromkeys(COLUMNS, value) for i, value in enumerate(scores, start=1)}
    curve.publish(place / "data/pretrain/hellaswag_curve.csv")


def retrieve(place: Path, systems: Sequence[str], top_k: Sequence[int]) -> None:
    """What the stage benchmark publishes."""
    for file, column, places in (("at_k", "k", top_k), ("by_dimension", "dimension", [32, 384])):
        rows = [
            {"system": system, column: value, "accuracy": 0.5, "low": 0.4, "high": 0.6}
            for system in systems
            for value in places
        ]
        write_csv(place / f"data/benchmarks/accuracy_{file}.csv", rows)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git and DVC project with dvc.yaml, the templates and every file that its plots are drawn from."""
    place = tmp_path_factory.mktemp("plots")
    for file in ("dvc.yaml", "params.yaml", "prompts.yaml", ".dvc/config", ".gitignore"):
        (place / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, place / file)
    shutil.copytree(ROOT / ".dvc/plots", place / ".dvc/plots")
    subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)
    train(place, REWARDS)
    teach(place, "pretrain", evaluated=True)
    teach(place, "finetune", evaluated=True)
    score(place, [0.25, 0.26])
    write_csv(place / "metrics/qlora_curve.csv", [{"step": 1, "train_loss": 1.0, "lr": 0.0, "grad_norm": 0.1}])
    retrieve(place, ["bm25", "minilm-l6_base"], [1, 5])
    for picture in ("evaluation/evaluation.png", "benchmarks/benchmark.png", "rag/rag.png"):
        (place / "data" / picture).parent.mkdir(exist_ok=True)
        (place / "data" / picture).write_bytes(PICTURE)
    return place


def shown(place: Path) -> dict[str, list[dict[str, Any]]]:
    """Plot -> the points that are drawn; every plot of dvc.yaml is drawn, without errors."""
    found = dvc(place, "plots", "show")
    assert not found.get("errors"), found["errors"]
    names = {next(iter(plot)) if isinstance(plot, dict) else plot for plot in PLOTS}
    assert names <= set(found["data"])
    assert all(found["data"].values())
    vega = {name: parts[0] for name, parts in found["data"].items() if parts[0]["type"] == "vega"}
    return {name: part["content"]["data"]["values"] for name, part in vega.items()}


@pytest.mark.parametrize(
    "rewards",
    [REWARDS, ["overlap", "length"], ["format"], [*REWARDS, "brevity", "citations"]],
    ids=["default", "three of weight 0", "one", "seven"],
)
def test_every_reward_is_drawn_and_only_those(project: Path, rewards: list[Any]) -> None:
    train(project, rewards, beta=0.0 if len(rewards) == 1 else 0.02)
    points = shown(project)["reasoning"]
    assert {point["reward"] for point in points} == {"weighted sum", *rewards}
    assert len(points) == 3 * (1 + len(rewards))


def test_plots_survive_other_params(project: Path) -> None:
    teach(project, "pretrain", evaluated=False)  # no validation in these steps
    retrieve(project, ["bm25", *(f"model-{i}_base" for i in range(12))], [2])
    points = shown(project)
    assert len({point["system"] for point in points["accuracy over k"]}) == 13
    assert {point["train_loss"] for point in points["pretraining"]} == {"2.9", "2.8", "2.7"}


def test_hellaswag_in_training_is_drawn_and_its_absence_is_no_error(project: Path) -> None:
    score(project, [0.25, 0.31])
    assert [point["step"] for point in shown(project)["HellaSwag in pretraining"]] == ["50", "100"] * 2
    score(project, [])
    assert (project / "data/pretrain/hellaswag_curve.csv").read_text() == "step," + ",".join(COLUMNS) + "\n"
    found = dvc(project, "plots", "show")
    assert not found.get("errors"), found["errors"]
    assert not found["data"]["HellaSwag in pretraining"]
    score(project, [0.25])


def test_two_commits_with_other_rewards_lie_over_each_other(project: Path) -> None:
    def commit(message: str) -> None:
        for command in (["add", "--force", "."], ["-c", "user.name=ci", "-c", "user.email=ci@localhost", "commit"]):
            options = ["--quiet", "--message", message] if "commit" in command else []
            subprocess.run(["git", *command, *options], cwd=project, check=True)

    train(project, ["format", "overlap"])
    commit("Two rewards")
    train(project, ["overlap", "brevity"])
    found = dvc(project, "plots", "diff", "HEAD")
    assert not found.get("errors"), found["errors"]
    points = found["data"]["reasoning"][0]["content"]["data"]["values"]
    assert {(point["rev"], point["reward"]) for point in points} == {
        (rev, reward)
        for rev, rewards in (("HEAD", ("format", "overlap")), ("workspace", ("overlap", "brevity")))
        for reward in ("weighted sum", *rewards)
    }
