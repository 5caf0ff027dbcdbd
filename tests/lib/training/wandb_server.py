"""As much of a W&B server as a run needs, on a port of this machine; it can also be as bad as real ones are at times.

It keeps the rows of every run as the real one does: each upload says at which line of the history it begins.
"""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Literal

Mood = Literal["well", "hangs", "fails"]


class WandbServer:
    """What was uploaded, and how the server answers: `mood` may change in the middle of a run."""

    def __init__(self, mood: Mood) -> None:
        self.mood: Mood = mood
        self.asked = 0  # requests
        self.history: dict[str, list[dict[str, Any]]] = {}  # run id -> its rows
        self.exits: dict[str, int] = {}  # run id -> exit code, when it was finished
        self.groups: dict[str, str] = {}  # run id -> its group
        self.over = Event()
        self.url = ""

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request that is well."""
        if path.endswith("/file_stream"):
            return self._stream(path.split("/")[-2], body)
        query, variables = body.get("query", ""), body.get("variables") or {}
        if "UpsertBucket" in query:
            return {"data": {"upsertBucket": {"bucket": self._bucket(variables), "inserted": True}}}
        if "RunResumeStatus" in query:
            bucket = self._bucket(variables) if variables["name"] in self.history else None
            return {"data": {"model": {**PROJECT, "bucket": bucket}}}
        if "CreateRunFiles" in query:
            return {"data": {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": []}}}
        if "Viewer" in query:
            return {"data": {"viewer": {"id": "u", "entity": "ent", "username": "u", "flags": "{}"}}}
        return {"data": {}}

    def _bucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"]
        rows = self.history.setdefault(name, [])
        if variables.get("groupName"):
            self.groups[name] = variables["groupName"]
        tail = json.dumps([json.dumps(row) for row in rows[-1:]])
        return {
            **{
                "id": f"id-{name}",
                "name": name,
                "displayName": name,
                "description": "",
                "sweepName": "",
                "config": "{}",
            },
            **{"historyLineCount": len(rows), "eventsLineCount": 0, "logLineCount": 0, "historyTail": tail},
            **{
                "eventsTail": "[]",
                "summaryMetrics": "{}",
                "tags": [],
                "wandbConfig": json.dumps({"t": 1}),
                "project": PROJECT,
            },
        }

    def _stream(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        sent = (body.get("files") or {}).get("wandb-history.jsonl")
        if sent:
            rows = self.history.setdefault(name, [])
            rows[sent["offset"] :] = [json.loads(line) for line in sent["content"]]
        if body.get("complete"):
            self.exits[name] = body["exitcode"]
        return {}

    def steps(self, name: str) -> list[int]:
        """The steps of a run's rows."""
        return [row["_step"] for row in self.history[name]]


PROJECT = {"id": "p", "name": "llmill", "entity": {"id": "e", "name": "ent"}}


@contextmanager
def wandb_server(mood: Mood = "well") -> Iterator[WandbServer]:
    """Serves until the block ends."""
    state = WandbServer(mood)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.asked += 1
            if state.mood == "hangs":
                state.over.wait()
                return
            if self.headers.get("Content-Encoding") == "gzip":
                content = gzip.decompress(content)
            well = state.mood == "well"
            told = json.loads(content or b"{}") if self.command == "POST" else {}  # files are put
            found = json.dumps(state.answer(self.path, told) if well else {}).encode()
            self.send_response(200 if well else 500)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        do_GET = do_PUT = do_POST  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
