"""The watch over the graph: a small graph of real processes, seen from outside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import graph

QUIET = "import time; time.sleep(1.2)"
TALKING = """
import sys, time
block = bytearray(200_000_000)
print("loading", flush=True)
for i in range(4):
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    print(f"talking: {i}/4 [00:0{i}<00:01, 2.9 it/s]", flush=True)
print(sys.argv[1:])
"""
DVC_YAML = """
stages:
  quiet: {cmd: python -m stages.quiet}
  talking: {cmd: python -m stages.talking a b}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {"quiet": QUIET, "talking": TALKING, "__init__": ""}.items():
        file = tmp_path / "stages" / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (tmp_path / "dvc.yaml").write_text(DVC_YAML, encoding="utf-8")
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    return tmp_path


def environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_what_is_seen_of_a_graph(project: Path, tmp_path: Path) -> None:
    runs, seconds = graph.run_graph(project, [], environment(), tmp_path / "log")
    rows = {run.stage: run.row() for run in runs}
    assert set(rows) == {"quiet", "talking a b"}
    quiet, talking = rows["quiet"], rows["talking a b"]
    assert float(talking["cpu_s"]) >= 1 > float(quiet["cpu_s"])
    assert float(talking["peak_mb"]) >= 200 > float(quiet["peak_mb"])
    assert quiet["first_s"] == ""
    assert 0.2 <= float(talking["first_s"]) <= float(talking["wall_s"])
    assert float(quiet["silence_s"]) >= 1
    assert seconds >= float(quiet["wall_s"]) + float(talking["wall_s"])
    assert b"['a', 'b']" in (tmp_path / "log").read_bytes()


def test_a_graph_that_fails_says_so(project: Path, tmp_path: Path) -> None:
    (project / "stages" / "quiet.py").write_text("raise SystemExit('no data')", encoding="utf-8")
    with pytest.raises(subprocess.CalledProcessError):
        graph.run_graph(project, ["quiet"], environment(), tmp_path / "log")
    assert b"no data" in (tmp_path / "log").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "stage"),
    [
        (["python", "-m", "stages.rerank", "minilm-l6", "base"], "rerank minilm-l6 base"),
        (["python", "-m", "stages.shard"], "shard"),
        (["python", "-m", "stages.lib.commands.results"], None),
        (["python", "-c", "spawn_main", "-m"], None),
        (["dvc", "repro"], None),
    ],
)
def test_which_process_is_a_stage(arguments: list[str], stage: str | None) -> None:
    assert graph.stage_of(arguments) == stage


def test_a_clone_has_what_is_not_committed(project: Path, tmp_path: Path) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "add", "."], cwd=project, check=True)
    subprocess.run(["git", *identity, "commit", "--quiet", "-m", "a"], cwd=project, check=True)
    (project / "stages" / "quiet.py").write_text("pass", encoding="utf-8")
    graph.clone(project, tmp_path / "other")
    assert (tmp_path / "other" / "stages" / "quiet.py").read_text(encoding="utf-8") == "pass"


def test_a_baseline_is_kept_by_kind_of_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "BASELINE", tmp_path / "graph.csv")
    row: dict[str, float | str] = {"stage": "qa", "wall_s": 4.0, "cpu_s": 7.0, "peak_mb": 9.0}
    graph.save_baseline("2 cores, avx2", [row])
    graph.save_baseline("2 cores, amx", [row | {"wall_s": 1.0}])
    graph.save_baseline("2 cores, avx2", [row | {"wall_s": 2.0}])
    assert graph.read_baseline("2 cores, amx")["qa"]["wall_s"] == "1.0"
    baseline = graph.read_baseline("2 cores, avx2")
    assert baseline["qa"]["wall_s"] == "2.0"
    now = row | {"wall_s": 5.0, "first_s": 1.0, "silence_s": 2.0}
    assert "| qa | 5.0 | 2.0 | 2.50 | 7.0 | 7.0 |" in graph.table([now], baseline)
    assert "| new | 5.0 |  |  |" in graph.table([now | {"stage": "new"}], baseline)


def test_what_each_part_took_is_kept_for_first_runs_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "USUAL_SECONDS", tmp_path / "usual.json")
    (tmp_path / "timings").mkdir()
    (tmp_path / "timings" / "qa_m.json").write_text('{"seconds": 3, "parts": {"imports": 1, "ask": 2}}')
    graph.save_usual_seconds(tmp_path)
    assert json.loads((tmp_path / "usual.json").read_text()) == {"qa_m": {"imports": 1, "ask": 2}}
