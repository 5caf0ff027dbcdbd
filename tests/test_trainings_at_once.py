"""Two experiments that make the same at once: each ends as if it had been alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.test_code_changes import ROOT, outputs, shards_and_params


def start(place: Path, cache: Path, stage: str) -> "subprocess.Popen[str]":
    """Starts a stage."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(place)}
    return subprocess.Popen(
        [sys.executable, "-m", f"stages.{stage}"],
        cwd=place,
        env=environment | {"LLMILL_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.landing
@pytest.mark.slow
@pytest.mark.parametrize("stage", ["shard", "pretrain"])
def test_two_that_make_the_same_take_turns(tmp_path: Path, stage: str) -> None:
    made = tmp_path / "made"
    shutil.copytree(ROOT / "stages", made / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    shards_and_params(made)
    if stage == "shard":  # enough of it to meet
        for i in range(3000):
            (made / f"documents/more_{i}.md").write_text(f"Page {i} of a book. " * 300)
    params = yaml.safe_load((made / "params.yaml").read_text())
    params["pretrain"] |= {"steps": 40, "eval_every": 5, "checkpoint_every": 5}
    (made / "params.yaml").write_text(yaml.safe_dump(params))
    places = [tmp_path / name for name in ("alone", "first", "second")]
    for place in places:
        shutil.copytree(made, place, ignore=shutil.ignore_patterns(".cache"))
    alone = start(places[0], tmp_path / "cache", stage)
    assert alone.wait() == 0, alone.communicate()
    both = [start(place, tmp_path / "shared", stage) for place in places[1:]]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(error[-2000:] for error in errors)
    assert [outputs(place) == outputs(places[0]) for place in places[1:]] == [True, True]
    assert sum(f"{stage}: another run makes the same" in error for error in errors) == 1
