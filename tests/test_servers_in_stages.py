"""Stages as processes of their own against the fake server: what fails is told, Ctrl-C ends, two servers at once."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import stages.judge
import stages.qa
from stages.lib.core.metrics import read_results
from stages.lib.core.records import Record, read_jsonl, write_jsonl
from tests.fake_openai_server import FakeServer

ROOT = Path(__file__).parent.parent
CHUNKS = 6
NAMES = ("LLMILL_OPENAI_BASE_URL", "OPENAI_BASE_URL", "LLMILL_OPENAI_API_KEY", "OPENAI_API_KEY")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def project(tmp_path: Path) -> Path:
    texts = [f"The machine number {i} weighs {i} tons and cannot be moved by hand." for i in range(CHUNKS)]
    texts[2] += " POISON"
    chunks = [
        {"id": f"d{i}-0", "document": f"d{i}", "source": f"machines/{i}.md", "start": 0, "text": text, "sampled": True}
        for i, text in enumerate(texts)
    ]
    write_jsonl(tmp_path / "data/chunks/chunks_dedu.jsonl", chunks)
    shutil.copy(ROOT / "prompts.yaml", tmp_path)
    return tmp_path


def write_params(project: Path, servers: dict[str, tuple[str, FakeServer]], **fields: Any) -> None:
    """`servers`: name under models: -> the model's name, and where it is."""
    models = {
        name: {"source": f"server:{model}", "backend": "openai", "base_url": server.url, "concurrency": 3} | fields
        for name, (model, server) in servers.items()
    }
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    qa = params["qa"] | {"generators": list(models)}
    judge = params["judge"] | {"judges": list(models), "expected_scores": True, "validity_pairs": 2}
    (project / "params.yaml").write_text(
        yaml.safe_dump({"domain": params["domain"], "models": models, "qa": qa, "judge": judge})
    )


def start(project: Path, *command: str) -> "subprocess.Popen[str]":
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=project,
        env=clean | {"PYTHONPATH": str(ROOT), "LLMILL_CACHE": str(project / "cache"), "KEY_B": "sk-of-b"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, with stages run in this process."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("LLMILL_CACHE", str(project / "cache"))
    monkeypatch.setenv("KEY_B", "sk-of-b")
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    return project


def dropped(project: Path, generator: str) -> list[Record]:
    return read_jsonl(project / f"data/qa/{generator}_dropped.jsonl")


@pytest.mark.parametrize(("model", "says"), [("poison500", "status 500: EngineCore"), ("poisonlong", "4096 tokens")])
def test_qa_drops_the_request_that_fails_with_its_reason(
    inside: Path, server: FakeServer, model: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_params(inside, {"gen": (model, server)})
    asked = []
    for _ in range(2):  # a re-run does not meet the same wall
        before = server.counts[model]
        stages.qa.main("gen")
        out = capfd.readouterr().out
        lines = dropped(inside, "gen")
        assert [(line["chunk"], line["reason"]) for line in lines] == [("d2-0", "failed_request")]
        assert says in lines[0]["error"]
        assert "1 requests failed: 1 x" in out and says in out
        asked.append(server.counts[model] - before)
    assert asked[1] <= asked[0] - (CHUNKS - 1) + 1
    assert read_results("qa_gen")["chunks"]["dropped"] == {"failed_request": 1}


def test_an_error_names_the_reason_and_no_size_of_a_model(inside: Path, server: FakeServer) -> None:
    write_params(inside, {"gen": ("reasoning_content", server)})
    with pytest.raises(ValueError, match=f"Failed requests: {CHUNKS} x the server put everything") as caught:
        stages.qa.main("gen")
    assert "too small" not in str(caught.value)
    with sqlite3.connect(inside / "cache/llm/ledger.sqlite") as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (0,)


def test_half_a_surrogate_pair_breaks_no_file(inside: Path, server: FakeServer) -> None:
    write_params(inside, {"gen": ("surrogate", server)})
    with pytest.raises(ValueError, match=f"none of {CHUNKS} chunks .*'invalid_unicode': {CHUNKS}"):
        stages.qa.main("gen")
    assert {line["reason"] for line in dropped(inside, "gen")} == {"invalid_unicode"}


@pytest.mark.parametrize("model", ["good", "nologprobs", "score400"])
def test_judge_keeps_ratings_without_expected_scores_and_says_so(
    inside: Path, server: FakeServer, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_params(inside, {"gen": (model, server)})
    stages.qa.main("gen")
    stages.judge.main("gen", "gen")
    records = read_jsonl(inside / "data/judgments/gen_gen_qa.jsonl")
    assert {record["relevance_expected"] for record in records} == {None}
    assert all(record["relevance_score"] for record in records)
    assert capfd.readouterr().err.count("ratings stay without an expected score") == 1
    counts = read_results("judge_gen_gen")["expected_scores"]
    assert counts["kept"] == 0 and counts["in"] == counts["dropped"]["failed_request"] > 0


def test_judge_takes_expected_scores_where_a_server_gives_them(inside: Path, server: FakeServer) -> None:
    write_params(inside, {"gen": ("continues", server)})
    stages.qa.main("gen")
    stages.judge.main("gen", "gen")
    records = read_jsonl(inside / "data/judgments/gen_gen_qa.jsonl")
    assert all(4 < record["relevance_expected"] < 5 for record in records)


@pytest.mark.parametrize("model", ["poisonfilter", "refusal"])
def test_judge_tells_why_requests_failed(inside: Path, server: FakeServer, model: str) -> None:
    write_params(inside, {"gen": ("good", server), "critic": (model, server)})
    stages.qa.main("gen")
    if model == "refusal":
        with pytest.raises(RuntimeError, match=r"requests failed.*the model refuses: I'm sorry"):
            stages.judge.main("critic", "gen")
        return
    stages.judge.main("critic", "gen")
    failed = [record for record in read_jsonl(inside / "data/judgments/critic_gen_qa.jsonl") if record["failure"]]
    assert [record["chunk"] for record in failed] == ["d2-0"]
    assert "failed_request" in failed[0]["failure"]
    assert failed[0]["error"] == "the server ended the reply with 'content_filter'"


def test_two_servers_with_their_own_keys(inside: Path, server: FakeServer) -> None:
    with FakeServer() as other:
        write_params(inside, {"gen": ("good", server), "critic": ("continues", other)})
        params = yaml.safe_load((inside / "params.yaml").read_text())
        params["models"]["critic"]["api_key_env"] = "KEY_B"
        (inside / "params.yaml").write_text(yaml.safe_dump(params))
        stages.qa.main("gen")
        stages.judge.main("critic", "gen")
        assert set(server.keys) == {""} and set(other.keys) == {"Bearer sk-of-b"}
        assert server.counts == Counter(good=CHUNKS) and set(other.counts) == {"continues"}


@pytest.mark.parametrize("model", ["hangsometimes", "always429", "poisonslow"])
def test_ctrl_c_ends_at_once_and_keeps_what_was_answered(project: Path, server: FakeServer, model: str) -> None:
    write_params(project, {"gen": (model, server)})
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `... &` ignores it, which a child inherits
    process = start(project, "stages.qa", "gen")
    deadline = time.monotonic() + 60
    while server.counts[model] < (CHUNKS if model == "hangsometimes" else 3):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.5)
    before = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert time.monotonic() - before < 2
    assert process.returncode == -signal.SIGINT, error
    kept = {"hangsometimes": 3, "always429": 0, "poisonslow": CHUNKS - 1}[model]
    assert f"interrupted: {kept} of {CHUNKS} requests were answered before, and are kept" in error
    with sqlite3.connect(project / "cache/llm/ledger.sqlite") as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (kept,)
