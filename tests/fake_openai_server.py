"""An OpenAI-compatible server whose behaviour is chosen by the model's name. Usage: fake_openai_server.py PORT

In an ordinary test: `with FakeServer() as server`, then `server.url`, `server.bodies`. A prompt that holds POISON is
the one request that a `poison...` model cannot answer.
"""

import email.utils
import gzip
import json
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Body = dict[str, Any]
HANG_SECONDS = 3600


class FakeServer(ThreadingHTTPServer):
    """Counts what it is asked, by model."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.counts: Counter[str] = Counter()
        self.bodies: list[Body] = []
        self.keys: list[str] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        self.body: Body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.model = self.body["model"]
        self.text = self.body["messages"][-1]["content"] if "messages" in self.body else self.body["prompt"]
        with self.server.lock:
            self.server.counts[self.model] += 1
            self.server.bodies.append(self.body)
            self.server.keys.append(self.headers.get("Authorization", ""))
            self.number = self.server.counts[self.model]
        poisoned = self.model.startswith("poison") and "POISON" not in self.text
        (Handler.good if poisoned else MODES[self.model])(self)

    def send(self, status: int, content: Any, **headers: str) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"content-type": "application/json"} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def ok(self, content: Any, finish: str | None = "stop", usage: Any = None, **message: Any) -> None:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": content, **message},
            "text": content,
            "finish_reason": finish,
            "logprobs": self.logprobs(),
        }
        self.send(200, {"choices": [choice], "usage": usage or {"prompt_tokens": 5, "completion_tokens": 2}})

    def good(self) -> None:
        self.ok(self.answer())

    def refuse(self, message: str, status: int = 400) -> None:
        self.send(status, {"error": {"message": message, "type": "invalid_request_error"}})

    def refuse_unless(self, fits: bool, message: str, status: int = 400) -> None:
        if fits:
            self.good()
        else:
            self.refuse(message, status)

    def first_trouble(self, status: int, **headers: str) -> None:
        """The first request of the model fails."""
        if self.number == 1:
            self.send(status, {"error": "trouble"}, **headers)
        else:
            self.good()

    def answer(self) -> str:
        """What the prompt asks for."""
        if '"duplicate"' in self.text:
            return json.dumps({"rationale": "same", "duplicate": True})
        if '"score"' in self.text:
            return json.dumps({"rationale": f"it has {len(self.text)} letters", "score": 1 + len(self.text) % 5})
        passage = re.search(r'Passage:\n"""\n(.*?)\n"""', self.text, re.DOTALL)
        words = re.findall(r"[A-Za-z_]{5,}", passage[1])[:3] if passage else ["alpha", "beta", "gamma"]
        said = passage[1].strip().split("\n")[0][:60] if passage else "8"
        question = f"What does {' and '.join(words)} refer to in the library?"
        return json.dumps({"question": question, "answer": said})

    def logprobs(self) -> Any:
        """Of a server that begins a new turn, but for `continues`."""
        if not self.body.get("logprobs") or self.model == "nologprobs":
            return None
        listed = {"{": -0.01, "```": -5.0, "{\n": -6.0}
        if self.model in ("continues", "fewlogprobs"):
            listed = {"5": -0.1, "4": -2.5}
        tokens = [{"token": token, "logprob": logprob} for token, logprob in listed.items()]
        return {"content": [tokens[0] | {"top_logprobs": tokens}]}

    def cut_off(self, beginning: bytes = b"") -> None:
        """The connection ends, after a beginning."""
        self.close_connection = True
        if beginning:
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(beginning)
            self.wfile.flush()
        else:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.connection.shutdown(socket.SHUT_RDWR)

    def byte_a_second(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "1000")
        self.end_headers()
        for _ in range(HANG_SECONDS):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.2)

    def header_byte_a_second(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        for _ in range(HANG_SECONDS):
            self.wfile.write(b"a")
            self.wfile.flush()
            time.sleep(0.2)

    @property
    def format(self) -> str:
        return str((self.body.get("response_format") or {}).get("type"))

    @property
    def schema(self) -> str:
        return json.dumps(self.body.get("response_format"))

    def strict(self, *known: str) -> None:
        """A server that takes nothing but these fields."""
        unknown = sorted(set(self.body) - {"model", "messages", *known})
        message = [
            {"type": "extra_forbidden", "loc": ["body", u], "msg": "Extra inputs are not permitted"} for u in unknown
        ]
        if unknown:
            self.send(422, {"detail": message[:1]})
        else:
            self.good()


def _http_date(seconds: float) -> str:
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


LONG = "This model's maximum context length is 4096 tokens, your messages have 5000; reduce max_tokens or the messages"
MODES: dict[str, Callable[[Handler], None]] = {
    "good": Handler.good,
    "continues": Handler.good,
    "poison500": lambda h: h.send(500, {"error": "EngineCore encountered an issue"}),
    "poison503": lambda h: h.send(503, {"error": "overloaded"}),
    "poisonempty": lambda h: h.send(200, {"id": "x", "choices": [], "usage": None}),
    "poisonerror": lambda h: h.send(200, {"error": {"message": "upstream is gone", "code": 502}}),
    "poisonlong": lambda h: h.refuse(LONG),
    "poison400": lambda h: h.send(400, b"Bad Request"),
    "poison413": lambda h: h.send(413, b"<html>too large</html>"),
    "poisonreset": Handler.cut_off,
    "poisonfilter": lambda h: h.ok("half an ans", "content_filter"),
    "poisonblank": lambda h: h.ok(" \n"),
    "poisonabort": lambda h: h.ok('{"question": "What', "abort"),
    "poisonhtml": lambda h: h.send(200, b"<html>login</html>"),
    "poisonhang": lambda h: time.sleep(HANG_SECONDS),
    "poisonslow": Handler.byte_a_second,
    "poisonslowheader": Handler.header_byte_a_second,
    "eos": lambda h: h.ok(h.answer(), "eos"),
    "eos_token": lambda h: h.ok(h.answer(), "eos_token"),
    "end_turn": lambda h: h.ok(h.answer(), "end_turn"),
    "stop_sequence": lambda h: h.ok(h.answer(), "stop_sequence"),
    "STOP": lambda h: h.ok(h.answer(), "STOP"),
    "nullfinish": lambda h: h.ok(h.answer(), None),
    "nullusage": lambda h: h.ok(h.answer(), usage={"prompt_tokens": None, "completion_tokens": None}),
    "parts": lambda h: h.ok(
        [
            {"type": "thinking", "thinking": "Hm."},
            {"type": "text", "text": h.answer()[:5]},
            {"type": "text", "text": h.answer()[5:]},
        ]
    ),
    "surrogate": lambda h: h.ok(json.dumps({"question": "What does machine 8 weigh?", "answer": "8 tons \ud83d"})),
    "reasoning_content": lambda h: h.ok(None, reasoning_content=h.answer()),
    "reasoning": lambda h: h.ok("", reasoning=h.answer()),
    "reasoning_length": lambda h: h.ok(None, "length", reasoning_content="I should"),
    "toggle": lambda h: h.ok(None, reasoning_content=h.answer()) if h.number <= 2 else h.good(),
    "refusal": lambda h: h.ok(None, refusal="I'm sorry, I can't help with that."),
    "cut": lambda h: h.ok(h.answer()[:20], "max_tokens"),
    "score400": lambda h: h.refuse_unless(not h.body.get("logprobs"), LONG),
    "score500": lambda h: h.refuse_unless(not h.body.get("logprobs"), "EngineCore died", 500),
    "nologprobs": Handler.good,
    "fewlogprobs": lambda h: h.refuse_unless(h.body.get("top_logprobs", 0) <= 5, "top_logprobs must be at most 5"),
    "noprefill": lambda h: h.refuse_unless(
        h.body["messages"][-1]["role"] == "user", "Expected last role User or Tool for serving but got assistant"
    ),
    "no-max-tokens": lambda h: h.refuse_unless(
        "max_tokens" not in h.body,
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    ),
    "no-temperature": lambda h: h.refuse_unless(
        "temperature" not in h.body, "Unsupported parameter: 'temperature' is not supported with this model."
    ),
    "temperature1": lambda h: h.refuse_unless(
        h.body.get("temperature") == 1,
        "'temperature' does not support 0 with this model. Only the default (1) value is.",
    ),
    "reasoner": lambda h: (
        h.refuse("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if "max_tokens" in h.body
        else h.refuse_unless("temperature" not in h.body, "Unsupported parameter: 'temperature'")
    ),
    "deepseek": lambda h: h.refuse_unless(h.format != "json_schema", "This response_format type is unavailable now"),
    "noformat": lambda h: h.refuse_unless("response_format" not in h.body, "response_format is not supported"),
    "minlength": lambda h: h.refuse_unless(
        "minLength" not in h.schema,
        "Invalid schema for response_format 'reply': In context=('properties', 'q'), 'minLength' is not permitted.",
    ),
    "noenum": lambda h: h.refuse_unless("enum" not in h.schema, "Unsupported JSON schema keyword: enum"),
    "silent": lambda h: h.refuse_unless(h.format == "None", "Bad Request"),
    "nosystem": lambda h: h.refuse_unless(
        h.body["messages"][0]["role"] != "system",
        "Conversation roles must alternate user/assistant; System role not supported",
    ),
    "strict": lambda h: h.strict("max_tokens", "temperature"),
    "openai": lambda h: h.strict("max_completion_tokens", "response_format"),
    "date429": lambda h: h.first_trouble(429, Retry_After=_http_date(2)),
    "ms429": lambda h: h.first_trouble(429, retry_after_ms="700", Retry_After="60"),
    "seconds429": lambda h: h.first_trouble(429, Retry_After="0.7"),
    "past429": lambda h: h.first_trouble(429, Retry_After=_http_date(-1000)),
    "always429": lambda h: h.send(429, {"error": "rate limit reached, quota per day"}),
    "quota": lambda h: h.send(429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}),
    "always500": lambda h: h.send(500, {"error": "CUDA out of memory"}),
    "s408": lambda h: h.first_trouble(408),
    "s409": lambda h: h.first_trouble(409),
    "s425": lambda h: h.first_trouble(425),
    "s502": lambda h: h.first_trouble(502),
    "reset": lambda h: h.cut_off() if h.number <= 2 else h.good(),
    "half": lambda h: h.cut_off(b'{"choices": [') if h.number == 1 else h.good(),
    "gzip": lambda h: (
        h.send(200, gzip.compress(b"{}")[:-9] + b"broken", content_encoding="gzip") if h.number == 1 else h.good()
    ),
    "nogzip": lambda h: h.send(200, b"no gzip", content_encoding="gzip") if h.number == 1 else h.good(),
    "utf8": lambda h: h.send(200, b'{"choices": [{"message": {"content": "\xff"}}]}') if h.number == 1 else h.good(),
    "latin1": lambda h: h.send(
        200,
        '{"choices": [{"message": {"content": "größer"}, "finish_reason": "stop"}]}'.encode("latin-1"),
        content_type="application/json; charset=latin-1",
    ),
    "html": lambda h: h.send(200, b"<html>login</html>"),
    "redirect": lambda h: h.send(307, b"", location="/elsewhere"),
    "wrongkey": lambda h: h.send(401, {"error": {"message": f"Incorrect API key: {h.headers.get('Authorization')}"}}),
    "absent": lambda h: h.send(404, {"error": {"message": "The model `absent` does not exist"}}),
    "hang": lambda h: time.sleep(HANG_SECONDS),
    "hangsometimes": lambda h: time.sleep(HANG_SECONDS) if h.number > 3 else h.good(),
}


if __name__ == "__main__":
    FakeServer(int(sys.argv[1])).serve_forever()
