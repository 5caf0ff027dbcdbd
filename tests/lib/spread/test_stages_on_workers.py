"""The data half on a Ray cluster of two nodes: each stage writes the very bytes that it writes without Ray."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.lib.cache.ledger import Ledger
from tests.graph import ROOT
from tests.lib.spread.two_nodes import TwoNodes
from tests.test_end_to_end import run

pytestmark = pytest.mark.slow

SECTIONS = ("chunk", "dedup", "qa", "judge", "embed", "rerank")
STAGES = {
    "chunk": [["chunk"]],
    "dedup": [["near_pairs", "minilm-l6"], ["dedup"]],
    "qa": [["qa", "smollm2-135m"]],
    "judge": [["judge", "smollm2-135m", "smollm2-135m"], ["select"]],
    "embed": [["embed", "minilm-l6"]],
    "rerank": [["rerank", "minilm-l6", name, "base"] for name in ("minilm-l6", "smollm2-135m")],
}


def project(place: Path, engine: str) -> Path:
    """A copy of the project's code and params, with little to do and all on one engine."""
    shutil.copytree(ROOT / "stages", place / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("prompts.yaml", "dvc.yaml", "constraints.txt"):
        shutil.copy(ROOT / name, place / name)
    params = YAML().load((ROOT / "params.yaml").read_text())
    params["chunk"]["sources"][0]["limit"] = 60
    params["dedup"]["sample"] = 12
    params["judge"]["validity_pairs"] = 4
    params["rerank"]["depth"]["late_interaction"] = 3
    for section in SECTIONS:
        params[section]["engine"] = engine
    with (place / "params.yaml").open("w") as file:
        YAML().dump(params, file)
    return place


def written(place: Path) -> dict[str, bytes]:
    """What the stages wrote, but what the clock said."""
    files = [path for part in ("data", "metrics") for path in sorted((place / part).rglob("*")) if path.is_file()]
    return {str(path.relative_to(place)): path.read_bytes() for path in files}


def test_each_stage_writes_the_same_bytes(cluster: TwoNodes, tmp_path: Path) -> None:
    here, there = project(tmp_path / "local", "local"), project(tmp_path / "ray", "ray")
    environment = cluster.environment | {"PYTHONPATH": ""}
    for section in SECTIONS:
        for stage, *arguments in STAGES[section]:
            command = [sys.executable, "-m", f"stages.{stage}", *arguments]
            run(*command, cwd=here)
            run(*command, cwd=there, **environment)
        known, found = written(here), written(there)
        assert found.keys() == known.keys(), section
        assert [name for name in known if found[name] != known[name]] == [], section


def test_a_driver_killed_in_mid_run_asks_nothing_again_that_had_come_back(cluster: TwoNodes, tmp_path: Path) -> None:
    place = project(tmp_path / "ray", "ray")
    environment = cluster.environment | {"PYTHONPATH": ""}
    for stage in (["chunk"], ["near_pairs", "minilm-l6"], ["dedup"]):
        run(sys.executable, "-m", f"stages.{stage[0]}", *stage[1:], cwd=place)
    command = [sys.executable, "-m", "stages.qa", "smollm2-135m"]
    killed = subprocess.Popen(command, cwd=place, env=environment, start_new_session=True)
    ledger = Ledger(place / ".cache/llm/ledger.sqlite")
    end = time.monotonic() + 300
    before = answers(ledger)
    while answers(ledger) == before and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    kept = answers(ledger) - before
    assert kept > 0, "nothing was kept before the kill"
    run(*command, cwd=place, **environment)
    timings = (place / "timings/qa_smollm2-135m.json").read_text()
    assert f'"reused": {kept}' in timings, timings


def answers(ledger: Ledger) -> int:
    """How many the ledger holds."""
    (found,) = ledger._database.execute("SELECT COUNT(*) FROM answers")
    return int(found[0])
