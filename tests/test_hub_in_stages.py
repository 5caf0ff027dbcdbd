"""chunk and shard as processes of their own, on data sets of a hub on loopback."""

import csv
import hashlib
import io
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.lib.core.metrics import read_results
from stages.lib.core.records import read_jsonl
from tests.hub_client import ROOT, environment, last_line, parquet, run, start
from tests.lib.reading.test_hub_over_http import FINEWEB
from tests.local_hub import BLOCK, LocalHub

FILES = [f"sample/10BT/00{i}_00000.parquet" for i in range(3)]
PAGES = 30  # of a file


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "repositories") as hub:
        yield hub


@pytest.fixture
def edu(hub: LocalHub) -> str:
    """Three parquet files of some 600 kB each, with FineWeb-Edu's columns and configurations."""
    files: dict[str, bytes | str] = {"README.md": FINEWEB, "data/CC-MAIN-2024-10/0.parquet": parquet({"text": ["x"]})}
    for i, path in enumerate(FILES):
        texts = [hashlib.shake_256(f"{i} {page}".encode()).hexdigest(20_000) for page in range(PAGES)]
        scores: dict[str, list[Any]] = {"score": [2.6] * PAGES, "int_score": [3] * PAGES, "language": ["en"] * PAGES}
        ids = [f"<urn:uuid:{i}-{page}>" for page in range(PAGES)]
        files[path] = parquet({"text": texts, "id": ids, "url": ids, "dump": ids} | scores, group=10)
    return hub.add("datasets", "org/fineweb-edu", files)


def write_params(project: Path, section: str, source: dict[str, Any], **fields: Any) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())[section]
    project.mkdir(exist_ok=True)
    (project / "params.yaml").write_text(
        yaml.safe_dump({section: params | {"sources": [{"kind": "hub"} | source]} | fields})
    )


def run_stage(hub: LocalHub, project: Path, stage: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return run(["-m", f"stages.{stage}"], project, environment(hub.url, project / "home", **env))


def shards(project: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (project / "data/shards").iterdir()}


def shard_params(project: Path, revision: str, **fields: Any) -> None:
    source = {"name": "org/fineweb-edu", "revision": revision, "config": "sample-10BT", **fields}
    write_params(project, "shard", source, tokenizer="byte", shard_tokens=100_000, val_fraction=0.1, workers=1)


def test_shards_are_the_same_after_kills_in_the_second_and_third_file(hub: LocalHub, edu: str, tmp_path: Path) -> None:
    whole, killed, streamed = tmp_path / "whole", tmp_path / "killed", tmp_path / "streamed"
    for project, fields in ((whole, {}), (killed, {}), (streamed, {"streaming": True})):
        shard_params(project, edu, **fields)
    result = run_stage(hub, whole, "shard")
    assert result.returncode == 0, result.stderr
    assert read_results("shard", whole)["documents"]["kept"] == 3 * PAGES
    assert read_results("shard", whole)["revisions"] == {"org/fineweb-edu": edu}
    hub.sent.clear()
    for file in FILES[1:]:
        hub.faults.seconds_per_block = 0.1
        process = start(["-m", "stages.shard"], killed, environment(hub.url, killed / "home"))
        deadline = time.monotonic() + 400
        while hub.sent[file] < 4 * BLOCK:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (killed / "data/shards").exists()
        hub.faults.seconds_per_block = 0
    states = list((killed / "home/llmill").rglob("state.json"))
    assert len(states) == 1 and json.loads(states[0].read_text())["train"]
    result = run_stage(hub, killed, "shard")
    assert result.returncode == 0, result.stderr
    assert shards(killed) == shards(whole)
    for file in FILES:  # nothing came twice, but for what was on its way
        size = (hub.root / "datasets/org/fineweb-edu" / edu / file).stat().st_size
        assert size <= hub.sent[file] <= size + 8 * BLOCK
    result = run_stage(hub, streamed, "shard")
    assert result.returncode == 0, result.stderr
    assert shards(streamed) == shards(whole)
    # Without network: the same again from the cache.
    for old in ("data", "metrics", "home/llmill"):
        subprocess.run(["rm", "-r", str(killed / old)], check=True)
    result = run_stage(hub, killed, "shard", HF_ENDPOINT="http://127.0.0.1:9")
    assert result.returncode == 0, result.stderr
    assert shards(killed) == shards(whole)


def test_a_stage_ends_with_a_line_where_the_hub_does_not_give(hub: LocalHub, edu: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shard_params(project, "0" * 40)
    line = last_line(run_stage(hub, project, "shard"))
    assert line.startswith(f"sources[0].revision: '{'0' * 40}' is no commit of {hub.url}/datasets/org/fineweb-edu")
    shard_params(project, edu)
    hub.gated["org/fineweb-edu"] = 403
    assert "accept its terms there, then set HF_TOKEN" in last_line(run_stage(hub, project, "shard"))
    assert "cannot be reached" in last_line(run_stage(hub, project, "shard", HF_ENDPOINT="http://127.0.0.1:9"))


@pytest.mark.parametrize("form", ["huggingface_doc.csv", "data/train-00000-of-00001.parquet"])
def test_pages_of_documentation_are_cut_into_chunks(hub: LocalHub, tmp_path: Path, form: str) -> None:
    """The two columns of m-ric/huggingface_doc, from our own documentation."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    texts, sources = [page.read_text() for page in pages], [f"llmill/blob/main/docs/{page.name}" for page in pages]
    content = parquet({"text": texts, "source": sources})
    if form.endswith(".csv"):
        text = io.StringIO(newline="")
        csv.writer(text).writerows([["text", "source"], *zip(texts, sources, strict=True)])
        content = text.getvalue().encode()
    revision = hub.add("datasets", "m-ric/huggingface_doc", {"README.md": "# Pages", form: content})
    project = tmp_path / "project"
    write_params(project, "chunk", {"name": "m-ric/huggingface_doc", "revision": "main"})
    result = run_stage(hub, project, "chunk")
    assert result.returncode == 0, result.stderr
    assert f"sources[0].revision: main of m-ric/huggingface_doc is {revision} now" in result.stderr
    documents = read_jsonl(project / "data/chunks/documents.jsonl")
    assert [document["source"] for document in documents] == sources
    assert [document["text"] for document in documents] == texts
    assert read_results("chunk", project)["revisions"] == {"m-ric/huggingface_doc": revision}
    before = (project / "data/chunks/chunks.jsonl").read_bytes()
    hub.add("datasets", "m-ric/huggingface_doc", {form: content[: len(content) // 2]})  # main moves on
    assert run_stage(hub, project, "chunk", HF_HUB_OFFLINE="1").returncode == 0
    assert (project / "data/chunks/chunks.jsonl").read_bytes() == before
