"""HellaSwag in the middle of the stage pretrain: at its own steps, in its curve once each, also after kill -9."""

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.test_pretrain import environment, place_with_shards, stage, write_params

KNOBS: dict[str, Any] = {
    "steps": 90,
    "hellaswag": "items.jsonl",
    "hellaswag_every": 15,
    "log_every": 20,
    "eval_every": 40,
    "checkpoint_every": 7,
}
OUT = "data/pretrain/hellaswag_curve.csv"
ENDS = ("copy the work and give it away", "eat", "sing of the licence for ever and ever", "run")


def items(place: Path, contexts: list[str]) -> None:
    """Writes some items."""
    rows = [
        {"ind": i, "activity_label": "A", "ctx": ctx, "label": i % 4}
        | {"endings": [f"{ending} {ctx[-j - 1]}" for j, ending in enumerate(ENDS)]}
        for i, ctx in enumerate(contexts)
    ]
    (place / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows(place: Path) -> list[dict[str, str]]:
    with (place / OUT).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nobody disturbed."""
    place = tmp_path_factory.mktemp("hellaswag") / "whole"
    place_with_shards(place, **KNOBS)
    items(place, ["The licensor grants", "You may not", "Each contributor shall", "In no event", "This is a work"])
    stage(place, "pretrain")
    return place


def copy(whole: Path, place: Path) -> Path:
    shutil.copytree(whole, place, ignore=shutil.ignore_patterns(".cache", "models", "metrics", "pretrain", "timings"))
    return place


def test_it_is_scored_at_its_own_steps(whole: Path) -> None:
    assert [int(row["step"]) for row in rows(whole)] == [15, 30, 45, 60, 75, 90]
    assert {row["items"] for row in rows(whole)} == {"5"}
    assert [line.partition(",")[0] for line in (whole / "metrics/pretrain_curve.csv").read_text().splitlines()] == [
        *("step", "20", "40", "60", "80", "90"),
    ]


def test_after_kill_9_it_has_every_step_once(whole: Path, tmp_path: Path) -> None:
    place = copy(whole, tmp_path / "killed")
    victim = subprocess.Popen([sys.executable, "-m", "stages.pretrain"], cwd=place, env=environment())
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and victim.poll() is None:
        files = list(place.glob(".cache/pretrain/*/hellaswag_*.csv"))
        if files and len(files[0].read_text().splitlines()) > 3:
            break
        time.sleep(0.002)
    victim.kill()
    assert victim.wait() == -9, "it was over before it could be killed"
    stage(place, "pretrain")
    assert json.loads((place / "timings/pretrain.json").read_text())["resumed_from_step"] > 0
    for file in (OUT, "data/pretrain/curve.png", "models/gpt/last/model.safetensors"):
        assert (place / file).read_bytes() == (whole / file).read_bytes(), file


def test_scores_of_other_items_are_no_points_of_the_curve(whole: Path, tmp_path: Path) -> None:
    """The weights are taken from the cache, and with them only what was scored on these items."""
    place = tmp_path / "other"
    shutil.copytree(whole, place)
    write_params(place, **KNOBS | {"prompts": ["Y"]})
    stage(place, "pretrain")
    assert (place / OUT).read_bytes() == (whole / OUT).read_bytes()
    items(place, ["Quite another"])
    stage(place, "pretrain")
    assert not rows(place)
    write_params(place, **KNOBS | {"hellaswag": ""})
    stage(place, "pretrain")
    assert (place / OUT).read_text().startswith("step,items,acc_tokens,")
    assert not rows(place)
