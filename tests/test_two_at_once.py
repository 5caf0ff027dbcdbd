"""Two experiments at once share what was paid for: each ends as if it had been alone."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.test_code_changes import ROOT, outputs, shards_and_params
from tests.test_qa_kill import CHUNKS, SlowServer, kept_answers, project, server, start
from tests.test_qa_kill import outputs as questions

__all__ = ["project", "server"]  # fixtures


def test_two_that_ask_the_same_keep_each_answer_once(project: Path, server: SlowServer) -> None:
    places = [project.with_name(name) for name in ("first", "second")]
    for place in places:
        shutil.copytree(project, place)
    alone = start(project, server, "alone", "stages.qa", "slow")
    assert alone.wait() == 0
    asked = len(server.answered)
    shared = str(project.parent / "shared")  # absolute: the same for both
    both = [start(place, server, shared, "stages.qa", "slow") for place in places]
    errors = [process.communicate()[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert questions(places[0]) == questions(places[1]) == questions(project)
    assert kept_answers(project, shared) == CHUNKS
    assert CHUNKS <= len(server.answered) - asked <= 2 * CHUNKS
    third = start(project, server, shared, "stages.qa", "slow")
    before = len(server.answered)
    assert third.wait() == 0 and len(server.answered) == before
    with sqlite3.connect(Path(shared) / "llm/ledger.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
@pytest.mark.parametrize("second", [{}, {"prompts": ["It"]}, {"steps": 50}], ids=["same", "same weights", "longer"])
def test_two_trainings_at_once_end_as_each_alone(tmp_path: Path, second: dict[str, object]) -> None:
    made = tmp_path / "made"
    shutil.copytree(ROOT / "stages", made / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    shards_and_params(made)
    params = yaml.safe_load((made / "params.yaml").read_text())
    params["pretrain"] |= {"steps": 40, "eval_every": 5, "checkpoint_every": 5}
    expected, started = [], []
    for number, changes in enumerate(({}, second)):
        text = yaml.safe_dump(params | {"pretrain": params["pretrain"] | changes})
        alone, place = tmp_path / f"alone{number}", tmp_path / f"place{number}"
        for copy in (alone, place):
            shutil.copytree(made, copy, ignore=shutil.ignore_patterns(".cache"))
            (copy / "params.yaml").write_text(text)
        assert pretrain(alone, tmp_path / f"cache{number}").wait() == 0
        expected.append(outputs(alone))
    started = [pretrain(tmp_path / f"place{number}", tmp_path / "shared") for number in range(2)]
    errors = [process.communicate()[1][-2000:] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(errors)
    assert [outputs(tmp_path / f"place{number}") == expected[number] for number in range(2)] == [True, True]


def pretrain(place: Path, cache: Path) -> "subprocess.Popen[str]":
    """Starts the stage."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(place)}
    return subprocess.Popen(
        [sys.executable, "-m", "stages.pretrain"],
        cwd=place,
        env=environment | {"LLMILL_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
