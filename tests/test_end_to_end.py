"""The whole graph through DVC, with small limits and the real embedded models, in a temporary clone."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.graph import ROOT
from tests.recorded import differences, listed_stages, read_records
from tests.test_dvc_params import LOOP_LISTS_ELSEWHERE, SECTION, UNTRACKED, WORKERS

# What dvc.yaml lists and this run does not read, by stage, each with its reason.
PINS = "constraints.txt"  # it pins the packages whose documentation is read
USERS = "documents"  # the user's own; the default's sources are packages
UNREAD = {
    "shard": {PINS, USERS},
    "finetune": {PINS, USERS},
    "chunk": {PINS, USERS},
    "embed": {"data/chunks/chunks_dedu.jsonl"},  # read where embed.corpus is deduplicated
    "instruct": {USERS, "params.yaml:models.smollm2-135m"},  # asked only about abstracts and for edge cases
    "eval": {PINS, USERS, "models/smollm2-135m-grpo"},  # a column only where eval.systems names it
}

# What a stage that computes no tensors imports of the packages that take a second or more.
TENSORS = {"accelerate", "bitsandbytes", "datasets", "peft", "sentence_transformers", "torch", "transformers", "trl"}
TABLES = {"matplotlib", "pandas", "pyarrow", "scipy", "sklearn"}  # pandas and pyarrow come with scikit-learn
WITHOUT_TENSORS: dict[str, set[str]] = {
    "shard": set(),
    "chunk": set(),
    "select": set(),
    "base": set(),
    "benchmark": {"matplotlib", "scipy"},
    "instruct": {"pandas", "pyarrow", "scipy", "sklearn"},
}
OPTIONAL = {"gradio", "unsloth", "vllm"}  # no default uses them; wandb is imported by TRL, where it is installed

# sentence-transformers looks whether a module's name is a file before it looks into the model's directory; Python looks
# for the source of a text that it cannot parse (ast), by the name that such a text has
PROBED = {"qa": {"<unknown>"}, "retriever": {"1_Pooling", "2_Normalize", "<unknown>"}}


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Runs a command with this environment's python and dvc first on the PATH; returns stdout."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"PATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of HEAD where `dvc exp run` with small limits has run the whole graph."""
    place = tmp_path_factory.mktemp("end_to_end") / "llmill"
    run("git", "clone", "--quiet", str(ROOT), str(place), cwd=ROOT)
    run("git", "config", "user.email", "ci@localhost", cwd=place)
    run("git", "config", "user.name", "ci", cwd=place)
    run("python", "-m", "profiles", "smoke", cwd=place)
    limits = ["-S", "dedup.sample=40"]
    record = place.parent / "record"
    record.mkdir()
    recorder = {"PYTHONPATH": str(ROOT / "tests/recorder"), "LLMILL_RECORD": str(record)}
    (place.parent / "output.txt").write_text(run("dvc", "exp", "run", *limits, cwd=place, **recorder))
    return place


@pytest.mark.landing
@pytest.mark.slow
def test_every_metric_file_of_the_graph_is_there(clone: Path) -> None:
    listed = json.loads(run("dvc", "metrics", "show", "--json", cwd=clone))
    files = listed[""]["data"]
    assert "metrics/benchmark_results.json" in files
    assert all("error" not in content for content in files.values())


@pytest.mark.landing
@pytest.mark.slow
def test_the_benchmark_compares_dense_each_reranker_and_bm25(clone: Path) -> None:
    with (clone / "data/benchmarks/benchmark_results.csv").open() as file:
        rows = list(csv.DictReader(file))
    rerankers = {row["reranker"] for row in rows if row["reranker"]}
    assert {"minilm-l6", "smollm2-135m"} <= rerankers
    assert any(row["system"].startswith("bm25") for row in rows)
    for row in rows:
        at_k = [float(value) for key, value in row.items() if key.startswith("accuracy_at_") and key[12:].isdigit()]
        assert at_k == sorted(at_k) and at_k[0] >= 0 and at_k[-1] <= 1


@pytest.mark.landing
@pytest.mark.slow
def test_the_funnel_adds_up(clone: Path) -> None:
    with (clone / "data/selected/funnel.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        assert int(row["in"]) == int(row["kept"]) + int(row["dropped"]), row


@pytest.mark.landing
@pytest.mark.slow
def test_each_stage_reads_and_writes_what_dvc_yaml_says(clone: Path) -> None:
    listed = listed_stages(clone)
    # A process is named by its arguments; `base` has one and is no loop.
    found_records = read_records(clone.parent / "record").items()
    records = {stage if stage in listed else stage.partition("@")[0]: record for stage, record in found_records}
    assert set(records) == set(listed)
    faults = {}
    for stage, record in records.items():
        name = stage.partition("@")[0]
        untracked = {f"params.yaml:{SECTION.get(name, name)}.{key}" for key in UNTRACKED.get(name, set())}
        untracked |= {f"params.yaml:{key}" for key in LOOP_LISTS_ELSEWHERE.get(name, set()) | WORKERS}
        untracked |= PROBED.get(name, set())
        found = differences(record, listed[stage])
        left = {what: sorted(paths - untracked - UNREAD.get(name, set())) for what, paths in found.items()}
        faults[stage] = {what: paths for what, paths in left.items() if paths}
    assert not any(faults.values()), json.dumps({stage: fault for stage, fault in faults.items() if fault}, indent=1)


@pytest.mark.landing
@pytest.mark.slow
def test_stages_without_tensors_import_no_heavy_package(clone: Path) -> None:
    records = read_records(clone.parent / "record")
    assert not any(record.imported & OPTIONAL for record in records.values())
    for name, record in records.items():
        allowed = WITHOUT_TENSORS.get(name.partition("@")[0], TENSORS | TABLES)
        assert record.imported & (TENSORS | TABLES) <= allowed, name


@pytest.mark.landing
@pytest.mark.slow
def test_each_stage_says_what_came_in_and_where_the_rest_lies(clone: Path) -> None:
    lines = (clone.parent / "output.txt").read_text().splitlines()
    for stage in listed_stages(clone):
        name = stage.partition("@")[0]
        said = [line for line in lines if re.match(rf"{name}[^:]*: [\d,]+ \w+ -> .* in (data|models)/", line)]
        assert said, f"{stage}: no line of what came in"


@pytest.mark.landing
@pytest.mark.slow
def test_a_second_repro_runs_nothing(clone: Path) -> None:
    out = run("dvc", "repro", cwd=clone)
    assert "Running stage" not in out
    assert "Data and pipelines are up to date." in out
