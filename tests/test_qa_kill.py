"""kill -9 in qa and in judge, against a server of our own that answers slowly and counts."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stages.lib.core.records import write_jsonl

ROOT = Path(__file__).parent.parent
CHUNKS = 30
VALIDITY_PAIRS = 8


class SlowServer(ThreadingHTTPServer):
    """Writes a question about the number in a passage, and rates by the length of the prompt."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answered: list[str] = []
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: SlowServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = body["messages"][-1]["content"]
        number = re.search(r"machine number (\d+)", text)
        if "You check one" in text:
            content: dict[str, Any] = {"rationale": f"It has {len(text)} letters.", "score": 1 + len(text) % 5}
        else:
            assert number
            content = {"question": f"What does machine number {number[1]} weigh?", "answer": f"{number[1]} tons"}
        time.sleep(0.03)
        answer = {"message": {"content": json.dumps(content)}, "finish_reason": "stop"}
        out = json.dumps({"choices": [answer], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()
        with self.server.lock:
            self.server.answered.append(text)
        self.send_response(200)
        self.send_header("content-length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[SlowServer]:
    with SlowServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one generator and judge behind the server, and chunks that ask for one question each."""
    project = tmp_path / "project"
    chunks = [
        {
            "id": f"d{i}-0",
            "document": f"d{i}",
            "source": f"machines/{i}.md",
            "start": 0,
            "text": f"The machine number {i} weighs {i} tons and cannot be moved. It was built in {1900 + i} by hand.",
            "sampled": True,
        }
        for i in range(CHUNKS)
    ]
    write_jsonl(project / "data/chunks/chunks_dedu.jsonl", chunks)
    shutil.copy(ROOT / "prompts.yaml", project)
    (project / "params.yaml").write_text(
        "models:\n  slow:\n    source: server:slow\n    backend: openai\n    concurrency: 2\n"
        "qa:\n  generators: [slow]\n  max_new_tokens: 99\n  question_max_new_tokens: 9\n  facts_per_chunk: 1\n"
        "  temperature: 0.0\n  seed: 0\n  tell: []\n  duplicate_similarity: 1.0\ndomain: lakes\n"
        "judge:\n  judges: [slow]\n  max_new_tokens: 99\n  expected_scores: false\n"
        f"  validity_pairs: {VALIDITY_PAIRS}\n  seed: 0\n"
    )
    return project


def start(project: Path, server: SlowServer, cache: str, *command: str) -> "subprocess.Popen[bytes]":
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "LLMILL_CACHE": str(project / cache),
        "LLMILL_OPENAI_BASE_URL": f"http://127.0.0.1:{server.server_address[1]}/v1",
        "LLMILL_OPENAI_API_KEY": "none",
    }
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=project,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def kept_answers(project: Path, cache: str) -> int:
    with sqlite3.connect(project / cache / "llm/ledger.sqlite") as database:
        return int(database.execute("SELECT count(*) FROM answers").fetchone()[0])


def outputs(project: Path) -> dict[str, bytes]:
    files = [*(project / "data").rglob("*.jsonl"), *(project / "metrics").rglob("*.json")]
    return {str(file.relative_to(project)): file.read_bytes() for file in sorted(files)}


def run(project: Path, server: SlowServer, cache: str, *command: str) -> int:
    """Runs a stage to its end; returns how many requests the server answered."""
    before = len(server.answered)
    process = start(project, server, cache, *command)
    error = process.communicate()[1].decode()
    assert process.returncode == 0, error
    return len(server.answered) - before


def kill_in_the_middle(project: Path, server: SlowServer, cache: str, *command: str, after: int) -> None:
    before = len(server.answered)
    process = start(project, server, cache, *command)
    while len(server.answered) - before < after:
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    time.sleep(0.2)  # what was in flight


def test_qa_and_judge_resume_after_kill_9(project: Path, server: SlowServer) -> None:
    qa, judge = ("stages.qa", "slow"), ("stages.judge", "slow", "slow")
    assert run(project, server, "whole", *qa) == CHUNKS
    asked_of_judge = run(project, server, "whole", *judge)
    assert asked_of_judge > CHUNKS * 3
    expected = outputs(project)
    assert len(expected) == 8  # chunks, qa, dropped, judgments and two metrics, each with its full results

    for made in ("data/qa", "data/judgments", "metrics"):
        shutil.rmtree(project / made)
    kill_in_the_middle(project, server, "cut", *qa, after=CHUNKS // 2)
    kept = kept_answers(project, "cut")
    assert 0 < kept < CHUNKS
    assert not (project / "data/qa").exists() and not (project / "metrics").exists()
    assert run(project, server, "cut", *qa) == CHUNKS - kept

    kill_in_the_middle(project, server, "cut", *judge, after=asked_of_judge // 2)
    kept = kept_answers(project, "cut") - CHUNKS
    assert 0 < kept < asked_of_judge
    assert not (project / "data/judgments").exists()
    assert run(project, server, "cut", *judge) == asked_of_judge - kept
    assert outputs(project) == expected


def test_one_changed_chunk_asks_for_that_chunk_alone(project: Path, server: SlowServer) -> None:
    run(project, server, "cache", "stages.qa", "slow")
    file = project / "data/chunks/chunks_dedu.jsonl"
    file.write_text(file.read_text().replace("machine number 7 weighs 7 tons", "machine number 777 weighs 777 tons"))
    assert run(project, server, "cache", "stages.qa", "slow") == 1
    assert "machine number 777" in server.answered[-1]
