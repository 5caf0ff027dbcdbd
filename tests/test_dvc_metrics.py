"""What `dvc exp show` and `dvc metrics show` see: few headline numbers per stage; the full results are in git."""

import csv
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.lib.core.metrics import read_results, write_metrics
from stages.lib.core.params import read_yaml

ROOT = Path(__file__).parent.parent
STAGES: dict[str, Any] = read_yaml(ROOT / "dvc.yaml")["stages"]
COMMITTED = sorted(file.stem for file in (ROOT / "metrics/full").glob("*.json"))
MOST_COLUMNS = 39  # of the default graph


def run(*command: str, cwd: Path) -> str:
    """Runs a command with this environment's python and dvc first on the PATH; returns stdout."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def columns(content: Any, name: str = "") -> list[str]:
    """The columns that DVC makes of a metric file."""
    if isinstance(content, dict):
        return [column for key, value in content.items() for column in columns(value, f"{name}.{key}" if name else key)]
    return [] if isinstance(content, list) or content is None else [name]


def declared(stage: str, kind: str) -> dict[str, Any]:
    """Path -> properties of a stage's metrics, plots or outs."""
    entries = STAGES[stage].get(kind, [])
    return {
        key: value for entry in entries for key, value in (entry if isinstance(entry, dict) else {entry: {}}).items()
    }


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_headline_is_what_the_code_makes_of_the_committed_results(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = next(stage for stage in STAGES if f"{name}_".startswith(f"{stage}_"))
    monkeypatch.chdir(tmp_path)
    write_metrics(name, read_results(name, ROOT), getattr(importlib.import_module(f"stages.{stage}"), "headline", None))
    for file, content in metric_files(tmp_path).items():
        assert (ROOT / file).read_bytes() == content
    headline = Path(f"metrics/{name}.json")
    assert headline.exists() == (ROOT / headline).exists()
    if headline.exists():
        found = json.loads(headline.read_text())
        assert list(found) == [stage]  # what a column begins with, so that DVC need not tell files apart
        assert 1 <= len(columns(found)) <= 9


def test_the_whole_graph_has_fewer_than_40_metrics(tmp_path: Path) -> None:
    # What is committed, whatever profile or model is tried in the working tree.
    run("git", "clone", "--quiet", "--depth=1", f"file://{ROOT}", "clone", cwd=tmp_path)
    listed = json.loads(run("dvc", "metrics", "show", "--json", cwd=tmp_path / "clone"))
    (revision,) = listed.values()
    files = revision["data"]
    assert {Path(file).stem for file in files} == {
        file.stem for file in (tmp_path / "clone/metrics/full").glob("*.json")
    }
    found = [column for content in files.values() for column in columns(content["data"])]
    assert 16 <= len(found) <= MOST_COLUMNS
    assert len(set(found)) == len(found)
    assert all(len(column) <= 24 for column in found)  # what a terminal has room for


@pytest.mark.parametrize(
    "stage", [stage for stage in STAGES if stage != "base"]
)  # a note, of which nothing is measured
def test_every_stage_declares_its_full_results_so_that_the_run_cache_stays_on(stage: str) -> None:
    metrics = declared(stage, "metrics")
    full = [path for path in metrics if path.startswith("metrics/full/")]
    assert len(full) == 1
    headline = full[0].replace("metrics/full/", "metrics/")
    assert (headline in metrics) == hasattr(importlib.import_module(f"stages.{stage}"), "headline")
    assert set(metrics) <= {full[0], headline}
    assert all(properties == {"cache": False} for properties in metrics.values())
    outs = declared(stage, "outs")
    assert all(properties.get("cache", True) for properties in outs.values())  # else no run cache
    assert not any(path.startswith("metrics") and path.endswith(".json") for path in [*outs, *declared(stage, "plots")])


def test_more_models_make_no_more_columns_of_the_benchmark() -> None:
    from stages.benchmark import headline

    few = read_results("benchmark_results", ROOT)
    systems = few["systems"]
    more = {
        **{f"{name}_{i}": {**row, "mrr": row["mrr"] / i} for name, row in systems.items() for i in (2, 3)},
        **systems,
    }
    assert headline({**few, "systems": more}) == headline(few)


def test_the_best_system_of_each_method_is_named_whatever_its_place() -> None:
    from stages.benchmark import best_by_mrr

    def row(system: str, method: str, mrr: float, full: int = 1) -> dict[str, Any]:
        return {"system": system, "method": method, "mrr": mrr, "full_dimension": full}

    rows = [row("bm25", "bm25", 0.5), row("a", "dense", 0.2), row("b", "dense", 0.4), row("c", "dense", 0.4)]
    assert best_by_mrr([*rows, row("a_32", "dense", 0.9, full=0)]) == {"bm25": "bm25", "dense": "b"}


def test_a_gate_that_nothing_passes_and_a_judge_without_pairs_have_headlines() -> None:
    from stages import gguf, judge

    assert gguf.headline({"released": None, "types": {}}) == {"gguf": {"released": "none"}}
    assert judge.headline({"validity": {"relevance": {"vague_question": {"auc": None}}}}) == {"judge": {}}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git and DVC project of the stage chunk, as dvc.yaml declares it, on two short documents."""
    place = tmp_path_factory.mktemp("chunk")
    for folder in ("stages", "documents"):
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "constraints.txt", place)
    for name in "ab":
        (place / f"documents/{name}.txt").write_text(f"{name} is a text of some words. " * 40)
    (place / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"chunk": STAGES["chunk"]}}))
    params = read_yaml(ROOT / "params.yaml")["chunk"] | {
        "chunk_chars": 700,
        "sources": [{"kind": "files", "patterns": ["documents/*.txt"]}],
    }
    (place / "params.yaml").write_text(yaml.safe_dump({"chunk": params}))
    run("git", "init", "--quiet", cwd=place)
    for key in ("user.name", "user.email"):
        run("git", "config", key, "ci@localhost", cwd=place)
    run("dvc", "init", "--quiet", cwd=place)
    run("dvc", "repro", cwd=place)
    (place / ".gitignore").write_text("/data/\n/timings/\n/.cache/\n__pycache__/\n")
    run("git", "add", ".", cwd=place)
    run("git", "commit", "--quiet", "--message", "A first run", cwd=place)
    return place


def metric_files(place: Path) -> dict[str, bytes]:
    return {str(file.relative_to(place)): file.read_bytes() for file in sorted((place / "metrics").rglob("*.json"))}


def set_chunk_chars(place: Path, value: int) -> None:
    params = read_yaml(place / "params.yaml")
    params["chunk"]["chunk_chars"] = value
    (place / "params.yaml").write_text(yaml.safe_dump(params))


def test_the_run_cache_brings_both_files_back(project: Path) -> None:
    first = metric_files(project)
    assert list(first) == ["metrics/chunk.json", "metrics/full/chunk.json"]
    set_chunk_chars(project, 200)
    assert "Running stage 'chunk'" in run("dvc", "repro", cwd=project)
    assert not any(metric_files(project)[name] == content for name, content in first.items())
    set_chunk_chars(project, 700)
    told = run("dvc", "repro", cwd=project)
    assert "Stage 'chunk' is cached - skipping run" in told and "Running stage" not in told
    assert metric_files(project) == first
    assert run("git", "status", "--porcelain", cwd=project) == ""


def test_an_experiment_carries_both_files_and_shows_the_headline_alone(project: Path) -> None:
    first = metric_files(project)
    run("dvc", "exp", "run", "--temp", "--name", "short", "--set-param", "chunk.chunk_chars=300", cwd=project)
    assert metric_files(project) == first
    table = list(csv.reader(run("dvc", "exp", "show", "--csv", cwd=project).splitlines()))
    assert table[0][5:7] == ["chunk.documents", "chunk.chunks"]
    assert not any("dropped" in column or "full" in column for column in table[0])
    workspace, *_, short = (row[6] for row in table[1:])
    assert int(short) > int(workspace)
    run("dvc", "exp", "apply", "short", cwd=project)
    assert read_results("chunk", project)["chunks"] == int(short)
    assert json.loads((project / "metrics/chunk.json").read_text())["chunk"]["chunks"] == int(short)
    run("git", "checkout", "--quiet", ".", cwd=project)


def test_plots_do_not_draw_the_results(project: Path) -> None:
    assert json.loads(run("dvc", "plots", "show", "--json", cwd=project)) == {}
    assert json.loads(run("dvc", "plots", "diff", "HEAD", "--json", cwd=project)) == {}
