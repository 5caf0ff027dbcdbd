"""Against a server of our own that counts, refuses, fails and talks nonsense on demand."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stages.lib.cache.ledger import Ledger
from stages.lib.llm.asking import AskedModel
from stages.lib.llm.openai_backend import OpenAiBackend
from stages.lib.llm.openai_client import ATTEMPTS, FEW_ATTEMPTS
from stages.lib.llm.protocol import GenerateRequest, Prompt, Reply, Sampling, ScoreRequest
from stages.lib.weights.models import ModelEntry

KEY = "sk-secret-of-the-test"
ENTRY = ModelEntry(source="server:counting", backend="openai", concurrency=3)


class CountingServer(ThreadingHTTPServer):
    """Answers a prompt with its own text in upper case; `troubles[text]` holds the statuses it gives first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()  # prompts, refused and failed ones too
        self.answered: Counter[str] = Counter()
        self.troubles: dict[str, list[int | str]] = {}
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.delay = 0.0
        self.fails = False  # every request, whatever it asks
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: CountingServer

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        with server.lock:
            server.asked[text] += 1
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            server.busy += 1
            server.most_busy = max(server.most_busy, server.busy)
            troubles = server.troubles.get(text, [])
            trouble = 500 if server.fails else troubles.pop(0) if troubles else 200
        time.sleep(server.delay)
        with server.lock:
            server.busy -= 1
        if isinstance(trouble, str) and trouble.startswith("status 400"):
            return self.answer(400, trouble)
        if isinstance(trouble, str):
            return self.answer(200, trouble)
        if trouble != 200:
            return self.answer(trouble, '{"error": "trouble"}')
        with server.lock:
            server.answered[text] += 1
        listed = [{"token": t, "logprob": p} for t, p in (("1", -0.1), ("2", -3.0), ("yes", -5.0))]
        logprobs = {"content": [{"top_logprobs": listed}]} if body.get("logprobs") and "nolog" not in text else None
        choice = {
            "message": {"content": text.upper()},
            "text": text.upper(),
            "finish_reason": "stop",
            "logprobs": logprobs,
        }
        usage = {"prompt_tokens": 5, "completion_tokens": 2}
        return self.answer(200, json.dumps({"choices": [choice], "usage": usage}))

    def answer(self, status: int, body: str) -> None:
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "0.3")
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[CountingServer]:
    with CountingServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("LLMILL_OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}/v1")
        monkeypatch.setenv("LLMILL_OPENAI_API_KEY", KEY)
        yield server
        server.shutdown()


def model(tmp_path: Path) -> AskedModel:
    return AskedModel(ENTRY, OpenAiBackend(ENTRY, first_wait=0.01), Ledger(tmp_path / "ledger.sqlite"))


def requests_for(*texts: str) -> list[GenerateRequest]:
    return [GenerateRequest(prompt=Prompt(text=text)) for text in texts]


def test_what_is_sent_and_what_comes_back(server: CountingServer, tmp_path: Path) -> None:
    request = GenerateRequest(
        prompt=Prompt(text="hello", system="be brief"),
        sampling=Sampling(max_tokens=7, temperature=0.5, top_p=0.9, seed=3, stop=("\n",)),
        schema={"type": "object"},
    )
    reply = model(tmp_path).generate([request])[0]
    assert reply == Reply(text="HELLO", finish_reason="stop", prompt_tokens=5, completion_tokens=2)
    assert server.bodies[0] == {
        "model": "counting",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
        "stop": ["\n"],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": True, "schema": {"type": "object"}},
        },
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_at_most_so_many_in_flight_and_in_order(server: CountingServer, tmp_path: Path) -> None:
    server.delay = 0.02
    texts = [f"text {i}" for i in range(20)]
    replies = model(tmp_path).generate(requests_for(*texts))
    assert [reply.text for reply in replies] == [text.upper() for text in texts]
    assert server.most_busy == ENTRY.concurrency
    assert set(server.asked.values()) == {1}


def test_passing_trouble_is_sat_out(server: CountingServer, tmp_path: Path) -> None:
    server.troubles = {"a": [500, 503], "b": [429], "c": ["not json"], "d": ['{"choices": []}']}
    start = time.perf_counter()
    replies = model(tmp_path).generate(requests_for("a", "b", "c", "d"))
    assert [reply.text for reply in replies] == ["A", "B", "C", "D"]
    assert server.asked == {"a": 3, "b": 2, "c": 2, "d": 2}
    assert time.perf_counter() - start >= 0.3  # what Retry-After asks for


def test_one_lasting_trouble_is_that_requests_own(server: CountingServer, tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(8)]
    server.troubles["text 5"] = [500, 500, 500, 500, 500, 500, 500, 500, 500, 500]
    replies = model(tmp_path).generate(requests_for(*texts))
    assert [reply.text for reply in replies] == ["" if i == 5 else f"TEXT {i}" for i in range(8)]
    assert re.search(r"127\.0\.0\.1.*status 500: trouble", replies[5].error)
    # Asked again alone, with nobody else who is answered: still its own, as the tiny request shows; then it passes.
    assert model(tmp_path).generate(requests_for(*texts))[5].error
    assert server.asked["text 5"] == 2 * FEW_ATTEMPTS
    server.troubles = {}
    assert model(tmp_path).generate(requests_for(*texts))[5].text == "TEXT 5"
    assert {text: count for text, count in server.answered.items() if text in texts} == dict.fromkeys(texts, 1)


def test_a_server_that_answers_nobody_ends_the_run_and_keeps_what_was_paid(
    server: CountingServer, tmp_path: Path
) -> None:
    texts = [f"text {i}" for i in range(30)]
    model(tmp_path).generate(requests_for(*texts[:10]))
    server.fails = True
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1.*status 500.* 0 of 20 requests were answered") as caught:
        model(tmp_path).generate(requests_for(*texts))
    assert KEY not in repr(caught.value)
    assert server.asked.total() <= 10 + (ATTEMPTS + 2) * ENTRY.concurrency  # not seven attempts of each
    server.fails = False
    replies = model(tmp_path).generate(requests_for(*texts))
    assert [reply.text for reply in replies] == [text.upper() for text in texts]
    assert {text: count for text, count in server.answered.items() if text in texts} == dict.fromkeys(texts, 1)


def test_a_refused_request_fails_alone(server: CountingServer, tmp_path: Path) -> None:
    server.troubles = {"long": ["status 400: maximum context length is 5", "status 400: maximum context length is 5"]}
    asked = model(tmp_path)
    replies = asked.generate(requests_for("a", "long", "b"))
    assert [reply.finish_reason for reply in replies] == ["stop", "error", "stop"]
    assert "status 400" in replies[1].error
    asked.generate(requests_for("a", "long", "b"))
    assert server.asked == {"a": 1, "b": 1, "long": 2}


def test_a_wrong_key_or_model_stops_at_once(server: CountingServer, tmp_path: Path) -> None:
    server.troubles = {"a": [401]}
    with pytest.raises(RuntimeError, match="status 401 for model 'counting'"):
        model(tmp_path).generate(requests_for("a"))
    assert server.asked == {"a": 1}


def test_scores_of_single_tokens(server: CountingServer, tmp_path: Path) -> None:
    request = ScoreRequest(prompt=Prompt(text="rate"), choices=("1", "2", "3"))
    score = model(tmp_path).score([request])[0]
    assert score.logprobs[:2] == (-0.1, -3.0)
    assert score.logprobs[2] == -5.0  # not listed: at most the last that is
    assert server.bodies[0]["max_tokens"] == 1
    assert server.bodies[0]["top_logprobs"] == 20
    failed = model(tmp_path).score([ScoreRequest(prompt=Prompt(text="rate"), choices=("seven", "eight"))])[0]
    assert re.search(r"answers otherwise, likeliest are \['1', '2', 'yes'\]", failed.error)
    without = model(tmp_path).score([ScoreRequest(prompt=Prompt(text="nolog"), choices=("1", "2"))])[0]
    assert "gives no log-probabilities" in without.error
    assert without.per_token is None


def test_no_server_named_or_none_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LLMILL_OPENAI_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="or set LLMILL_OPENAI_BASE_URL"):
        model(tmp_path).generate(requests_for("a"))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:9/v1.*ConnectError.*0 of 1 requests"):
        model(tmp_path).generate(requests_for("a"))


ASKING = """
import json, sys
from pathlib import Path
from stages.lib.llm.asking import open_model
from stages.lib.weights.models import load_model_entry
from stages.lib.llm.protocol import GenerateRequest, Prompt
with open_model(load_model_entry("counting", Path(sys.argv[1]))) as model:
    replies = model.generate([GenerateRequest(prompt=Prompt(text=f"text {i}")) for i in range(40)])
Path(sys.argv[2]).write_text(json.dumps([reply.text for reply in replies]))
"""


def test_a_killed_process_asks_nothing_twice(server: CountingServer, tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("models:\n  counting:\n    source: server:counting\n    backend: openai\n    concurrency: 3\n")
    out = tmp_path / "out.json"
    command = [sys.executable, "-c", ASKING, str(params), str(out)]
    environment = os.environ | {"LLMILL_CACHE": str(tmp_path / "cache")}
    server.delay = 0.02
    process = subprocess.Popen(command, env=environment)
    while server.answered.total() < 20:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    time.sleep(5 * server.delay)  # what was in flight
    before = Counter(server.answered)
    assert before.total() < 40
    subprocess.run(command, env=environment, check=True)
    assert json.loads(out.read_text()) == [f"TEXT {i}" for i in range(40)]
    twice = [text for text, count in server.answered.items() if count > 1]
    # Answers that were under way, or had just come and were not yet written down.
    assert len(twice) <= 2 * ENTRY.concurrency
    again = subprocess.run(command, env=environment, check=True)
    assert again.returncode == 0
    assert server.answered.total() == 40 + len(twice)
