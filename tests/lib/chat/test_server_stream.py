"""Against a server of our own that streams what a test tells it to, in the dialects that servers have."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stages.lib.chat.events import Event, Finished, Messages, Piece, PromptProgress, Recalled, StreamError, Thought
from stages.lib.chat.opening import open_entry
from stages.lib.chat.server_stream import ServerStream
from stages.lib.weights.models import ModelEntry

KEY = "sk-secret-of-the-test"
TURNS: Messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]


def chunk(content: str | None = None, **others: Any) -> str:
    """A chunk as OpenAI sends it."""
    ended = others.pop("finish_reason", None)
    choice = {"index": 0, "delta": {"content": content} | others.pop("delta", {}), "finish_reason": ended}
    whole = {"object": "chat.completion.chunk", "choices": [choice]} | others
    return "data: " + json.dumps(whole, ensure_ascii=False) + "\n\n"


USAGE = 'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}\n\n'
DONE = "data: [DONE]\n\n"


class TellingServer(ThreadingHTTPServer):
    """Sends `status` and then `parts`; a number among them is a wait for that many clients to have gone."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.parts: list[str] = []
        self.refused = ""  # a key of the body that this server does not know
        self.headers_wait = False
        self.go_on = threading.Event()
        self.gone = threading.Event()  # a client hung up
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    server: TellingServer

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server.bodies.append(body | {"path": self.path})
        server.headers.append(dict(self.headers))
        if server.headers_wait:
            self.wait_for_hang_up()
        refused = bool(server.refused) and server.refused in body
        self.send_response(400 if refused else server.status)
        if server.status == 429:
            self.send_header("Retry-After", "7")
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        if refused:
            self.wfile.write(f'{{"error": "Unrecognized request argument: {server.refused}"}}'.encode())
            return
        for part in server.parts:
            if part == "wait":
                server.go_on.wait(60)
            elif part == "hang":
                self.wait_for_hang_up()
            elif part == "drip":
                while not server.go_on.wait(0.05):
                    self.wfile.write(chunk("x").encode())
            else:
                self.wfile.write(part.encode())
                self.wfile.flush()

    def wait_for_hang_up(self) -> None:
        self.connection.settimeout(60)
        if self.connection.recv(1) == b"":
            self.server.gone.set()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TellingServer]:
    with TellingServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("KEY_OF_THE_TEST", KEY)
        yield server
        server.go_on.set()
        server.shutdown()


def opened(server: TellingServer, **options: Any) -> ServerStream:
    """A stream from the server."""
    url = f"http://127.0.0.1:{server.server_address[1]}/v1/"
    chosen: dict[str, Any] = {"base_url": url, "api_key_env": "KEY_OF_THE_TEST"} | options
    return ServerStream("telling", 7, 0.5, 3, **chosen)


def test_what_is_sent_and_what_comes_back(server: TellingServer) -> None:
    server.parts = [chunk("Hel"), chunk("lo"), chunk(finish_reason="stop"), USAGE, DONE]
    schema = {"type": "object"}
    stream = opened(server)
    events = list(stream.answer(TURNS, schema=schema))
    estimate = stream.count_tokens(TURNS)
    assert events == [PromptProgress(0, estimate), Piece("Hel"), Piece("lo"), Finished("stop", 5, 2)]
    assert server.bodies == [
        {
            "path": "/v1/chat/completions",
            "model": "telling",
            "messages": TURNS,
            "max_tokens": 7,
            "temperature": 0.5,
            "seed": 3,
            "stream": True,
            "stream_options": {"include_usage": True},
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": True, "schema": schema},
            },
        }
    ]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_the_dialects_of_servers(server: TellingServer) -> None:
    server.parts = [
        ": keep-alive\n\n",
        "event: message\nid: 1\nretry: 3000\n",
        chunk(None, delta={"role": "assistant"}, prompt_progress={"processed": 3, "total": 9}),
        "data:" + chunk(delta={"reasoning_content": "hm"}).removeprefix("data: "),  # no blank after the colon
        chunk(delta={"reasoning": "mm"}),
        ": OPENROUTER PROCESSING\r\n\r\n",
        chunk("", usage=None),
        chunk("é\u2028 # 5\n"),  # a line separator is no end of a line here
        chunk("!", finish_reason="length", usage={"prompt_tokens": 8, "completion_tokens": 7}),
    ]  # and no [DONE]
    events = list(opened(server).answer(TURNS))[1:]
    assert events == [
        PromptProgress(3, 9),
        Thought("hm"),
        Thought("mm"),
        Piece("é\u2028 # 5\n"),
        Piece("!"),
        Finished("length", 8, 7),
    ]


def test_events_come_as_they_happen(server: TellingServer) -> None:
    server.parts = [chunk("one"), "wait", chunk("two", finish_reason="stop"), DONE]
    events = opened(server).answer(TURNS)
    assert isinstance(next(events), PromptProgress)
    assert server.bodies == []  # nothing was asked yet
    assert next(events) == Piece("one")  # while the server waits for us
    server.go_on.set()
    assert list(events) == [Piece("two"), Finished("stop", 0, 0)]


@pytest.mark.parametrize("when", ["before the headers", "before the first event", "between events"])
def test_stop_hangs_up_whatever_the_server_does(server: TellingServer, when: str) -> None:
    server.headers_wait = when == "before the headers"
    server.parts = [chunk("one"), "hang"] if when == "between events" else ["hang"]
    stop, events = threading.Event(), list[Event]()
    asking = threading.Thread(target=lambda: events.extend(opened(server).answer(TURNS, stop=stop)))
    asking.start()
    while not server.bodies or (when == "between events" and Piece("one") not in events):
        assert asking.is_alive()
        time.sleep(0.005)
    stop.set()
    asking.join(30)
    assert not asking.is_alive()
    assert server.gone.wait(30)
    assert not isinstance(events[-1], Finished)


def test_closing_the_generator_hangs_up(server: TellingServer) -> None:
    server.parts = [chunk("one"), "hang"]
    events = opened(server).answer(TURNS)
    assert [next(events), next(events)][1] == Piece("one")
    events.close()
    assert server.gone.wait(30)


@pytest.mark.parametrize(
    ("status", "parts", "says"),
    [
        (401, [f'{{"error": "Incorrect API key: {KEY}"}}'], r"refuses the key in KEY_OF_THE_TEST \(status 401"),
        (404, ['{"error": "model not found"}'], "has no model 'telling', or its API is not at this base_url"),
        (400, ['{"error": "maximum context length is 5"}'], "refuses the conversation .*maximum context length"),
        (429, ["slow down"], "busy; ask again in 7 s"),
        (503, ["loading model"], "the server failed; ask again .*loading model"),
        (302, [""], "not an answer of this API"),
        (200, ['data: {"error": {"message": "out of memory", "code": 500}}\n\n'], "out of memory"),
        (200, [chunk("one"), 'error: {"message": "slot died"}\n\n'], "slot died"),
        (200, [chunk("one"), chunk(finish_reason="content_filter"), DONE], "ended the reply with 'content_filter'"),
        (200, [chunk("one")], "the reply broke off before its end"),
        (200, [chunk("one"), DONE], "the reply broke off before its end"),
        (200, ["<html>Welcome</html>"], "no events but '<html>Welcome</html>'"),
        (200, ["data: {oops\n\n"], "no JSON: ' {oops'"),
        (200, ['data: {"choices": ["x"]}\n\n'], "not a chunk of this API"),
        (200, ["data: [1]\n\n"], "no JSON object"),
    ],
)
def test_trouble_is_named_and_the_key_is_not(server: TellingServer, status: int, parts: list[str], says: str) -> None:
    server.status, server.parts = status, parts
    with pytest.raises(StreamError, match=says) as caught:
        list(opened(server).answer(TURNS))
    assert f":{server.server_address[1]}/v1: " in str(caught.value)
    shown: BaseException | None = caught.value
    while shown and not shown.__suppress_context__:
        assert KEY not in str(shown)
        shown = shown.__cause__
    assert len(server.bodies) == 1  # nothing is asked twice behind a person's back


def test_a_server_that_cannot_count_is_asked_without(server: TellingServer) -> None:
    server.refused = "stream_options"
    server.parts = [chunk("one", finish_reason="stop"), DONE]
    assert list(opened(server).answer(TURNS))[1:] == [Piece("one"), Finished("stop", 0, 0)]
    assert ["stream_options" in body for body in server.bodies] == [True, False]


def test_nobody_there_no_url_no_key(server: TellingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StreamError, match=r"127\.0\.0\.1:9/v1: no server answers there"):
        list(ServerStream("telling", 7, 0.0, 0, base_url="http://127.0.0.1:9/v1").answer(TURNS))
    for url in ("127.0.0.1:8000/v1", "file:///etc/passwd", "http://"):
        with pytest.raises(StreamError, match="write it as http://"):
            ServerStream("telling", 7, 0.0, 0, base_url=url)
    with pytest.raises(StreamError, match=r"variable NO_SUCH_KEY, .* is not set"):
        opened(server, api_key_env="NO_SUCH_KEY")
    for name in ("LLMILL_OPENAI_BASE_URL", "OPENAI_BASE_URL", "LLMILL_OPENAI_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StreamError, match="set LLMILL_OPENAI_BASE_URL"):
        ServerStream("telling", 7, 0.0, 0)
    server.status = 401
    with pytest.raises(StreamError, match="it wants a key: set LLMILL_OPENAI_API_KEY or OPENAI_API_KEY"):
        list(opened(server, api_key_env="").answer(TURNS))
    assert "Authorization" not in server.headers[-1]


def test_an_entry_opens_by_the_environment(server: TellingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}/v1")
    monkeypatch.setenv("LLMILL_OPENAI_API_KEY", KEY)
    server.parts = [chunk("one", finish_reason="stop"), DONE]
    entry = ModelEntry(source="server:telling", backend="openai", context=512)
    stream = open_entry(entry, max_new_tokens=7, temperature=0.0, seed=0)
    assert (stream.context, stream.exact_counts) == (512, False)
    assert Piece("one") in list(stream.answer(TURNS))
    assert "seed" not in server.bodies[0]
    with pytest.raises(ValueError, match="backend 'vllm' does not chat; serve the model"):
        open_entry(ModelEntry(source="path:x", backend="vllm"), max_new_tokens=7, temperature=0.0, seed=0)


def test_a_history_that_does_not_fit_is_not_sent(server: TellingServer) -> None:
    stream = opened(server, context=100)
    long = [{"role": "user", "content": "x" * 300}]
    assert stream.count_tokens(long) == 104
    with pytest.raises(StreamError, match="has 104 tokens; beside 7 of reply there is room for 93"):
        list(stream.answer(long))
    assert server.bodies == []


THINKING: dict[
    str, tuple[list[str], list[Event]]
] = {  # what a server streams of a model that thinks -> what is told apart
    "in its own field": ([chunk(delta={"reasoning_content": "hm"}), chunk("42")], [Thought("hm"), Piece("42")]),
    "in marks": ([chunk("<th"), chunk("ink>hm"), chunk("</think>\n\n42")], [Thought("hm"), Piece("42")]),
    "the template opened it": ([chunk("hm"), chunk("</think>42")], [Piece("hm"), Recalled(), Piece("42")]),
    "harmony": (
        [chunk("<|channel|>analysis<|message|>hm"), chunk("<|end|><|start|>assistant<|channel|>final<|message|>42")],
        [Thought("hm"), Piece("42")],
    ),
    "quoted": ([chunk("`<think>` begins it")], [Piece("`<think>` begins it")]),
}


@pytest.mark.parametrize("how", THINKING)
def test_thinking_is_told_apart(server: TellingServer, how: str) -> None:
    parts, expected = THINKING[how]
    server.parts = [*parts, chunk(finish_reason="stop"), DONE]
    events = list(opened(server).answer(TURNS))[1:]
    assert events == [*expected, Finished("stop", 0, 0)]


def test_a_reply_that_breaks_off_in_a_thought_is_no_reply(server: TellingServer) -> None:
    server.parts = [chunk("<think>hm"), chunk(" and <", finish_reason="length"), DONE]
    events = list(opened(server).answer(TURNS))[1:]
    assert events == [Thought("hm"), Thought(" and "), Thought("<"), Finished("length", 0, 0)]


def test_a_reply_has_an_end_however_often_something_comes(server: TellingServer) -> None:
    server.parts = ["drip"]
    begin, said = time.monotonic(), 0
    with pytest.raises(StreamError, match=r"no whole reply within 0\.6 s; `timeout` of the model's entry"):
        for event in opened(server, timeout=0.6).answer(TURNS):
            said += isinstance(event, Piece)
    assert said and time.monotonic() - begin < 20
    server.go_on.set()
    entry = ModelEntry(source="server:m", backend="openai", base_url="http://127.0.0.1:9/v1", timeout=0.6)
    assert vars(open_entry(entry, max_new_tokens=7, temperature=0.0, seed=0))["_timeout"] == 0.6
