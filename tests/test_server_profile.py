"""The four lines of the README, on a server: documents in a folder, profile `server`, and a benchmark of them.

The server is llama.cpp's own with SmolLM2 in Ollama's place. 135M weights write no question by the profile's strategy
(`direct`), so fact_first asks them to finish one; they judge by ratings, which the schema makes parse.
"""

import csv
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from profiles.dry_run.serving import default_gguf, served
from stages.lib.core.records import read_jsonl
from tests.graph import ROOT
from tests.test_end_to_end import run

if importlib.util.find_spec("xllamacpp") is None:
    pytest.skip("xllamacpp is not installed", allow_module_level=True)

FACTS = (
    "# {name}\n\nThe `{name}` command copies a folder to another machine. `retries` (`int`, defaults to {number}): "
    "Number of times that a broken copy is tried again. If the disk of the other machine is full, {name} stops "
    "and removes what it has written. The log file is written to /var/log/{name}.log at the end of each copy.\n"
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone of HEAD in which the lines have run, but for the port and small sizes."""
    place = tmp_path_factory.mktemp("server") / "llmill"
    run("git", "clone", "--quiet", str(ROOT), str(place), cwd=ROOT)
    documents = place.parent / "documents"
    documents.mkdir()
    for number, name in enumerate(("copyall", "mirrorfs", "sendtree", "driveback"), start=3):
        (documents / f"{name}.md").write_text(FACTS.format(name=name, number=number))
    shutil.copytree(documents, place / "documents", dirs_exist_ok=True)
    small = ["dedup.sample=4", "judge.validity_pairs=1", "judge.max_new_tokens=80", "benchmark.bootstrap_samples=100"]
    passing = [f"select.{criterion}=1.0" for criterion in ("groundedness", "relevance", "standalone")]
    with served(default_gguf(), threads=1) as url:
        entry = [f"models.server.base_url={url}", "models.server.qa_strategy=fact_first"]
        run("python", "-m", "profiles", "server", "domain=backups", *entry, *small, *passing, cwd=place)
        run("dvc", "repro", "benchmark", cwd=place, OMP_NUM_THREADS="1")
    yield place


@pytest.mark.landing
@pytest.mark.slow
def test_the_documents_are_the_users_own(clone: Path) -> None:
    chunks = read_jsonl(clone / "data/chunks/chunks.jsonl")
    assert {chunk["source"] for chunk in chunks} == {
        f"documents/{name}.md" for name in ("copyall", "mirrorfs", "sendtree", "driveback")
    }


@pytest.mark.landing
@pytest.mark.slow
def test_the_servers_ratings_are_read_but_for_those_that_were_cut_off(clone: Path) -> None:
    judgments = read_jsonl(clone / "data/judgments/server_server_qa.jsonl")
    judged = [judgment for judgment in judgments if not judgment["failure"]]
    assert judged
    for judgment in judged:
        assert judgment["groundedness_score"] in range(1, 6)
        assert 1 <= judgment["groundedness_expected"] <= 5  # llama.cpp continues the turn and gives log-probabilities


@pytest.mark.landing
@pytest.mark.slow
def test_the_benchmark_ranks_the_servers_questions(clone: Path) -> None:
    with (clone / "data/benchmarks/benchmark_results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["reranker"] for row in rows if row["reranker"]} == {"minilm-l6"}
    assert any(row["system"].startswith("bm25") for row in rows)
    assert len(read_jsonl(clone / "data/selected/qa_selected.jsonl")) >= 1
