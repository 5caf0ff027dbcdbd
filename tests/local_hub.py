"""A hub on loopback: what huggingface_hub and datasets ask of huggingface.co over HTTP, from a folder of repositories.

The folder holds `models/ORG/NAME/REVISION/...` and `datasets/ORG/NAME/REVISION/...`; `main` is the revision that was
added last. As on the real hub, large files (LFS) are redirected to another host (here: another port), small ones to
another path; a missing repository is a 401 without a token and a 404 with one; trees come in pages.

What goes wrong is asked for by the test: see `Faults`. To look at it with other tools:
python -m tests.local_hub FOLDER [PORT]
"""

import hashlib
import json
import re
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

LFS = (".safetensors", ".parquet", ".gguf", ".bin", ".pt", ".pth", ".onnx", ".msgpack", ".gz", ".h5", ".model")
LFS_BYTES = 10_000_000
# opens what is gated, on this server
TOKEN = "hf_of_the_tests"
_API = re.compile(
    r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info|auth-check)(?:/([^/]+)(?:/(.*))?)?)?"
)
_RESOLVE = re.compile(r"(?:/(datasets))?/([^/]+/[^/]+)/resolve/([^/]+)/(.*)")
_CACHED = re.compile(r"/api/resolve-cache/(models|datasets)/([^/]+/[^/]+)/([^/]+)/(.*)")


@dataclass
class Faults:
    """What goes wrong, by the file's name in its repository; each is taken once and then gone, but for `always`."""

    cut: dict[str, list[int]] = field(default_factory=dict)  # the connection ends behind so many bytes of the body
    reset: dict[str, list[int]] = field(default_factory=dict)  # the same by a reset
    corrupt: dict[str, int] = field(default_factory=dict)  # so often a byte of the body is another one
    status: dict[str, list[int]] = field(default_factory=dict)  # answered instead, such as 503 or 429; "*": of any file
    stall: dict[str, list[int]] = field(default_factory=dict)  # so many seconds before the body
    no_range: bool = False  # Range is ignored: always the whole file
    seconds_per_block: float = 0.0  # of BLOCK bytes


class Asked(NamedTuple):
    """A request that came."""

    method: str
    path: str
    range: str
    authorization: str
    port: int


BLOCK = 65_536


class LocalHub:
    """The two servers, as a context; `url` is what HF_ENDPOINT has to be."""

    def __init__(self, root: Path, port: int = 0, page: int = 1000) -> None:
        self.root = root
        self.page = page  # entries of a tree in one answer
        self.gated: dict[str, int] = {}  # repository -> status for a token that is not TOKEN: 401 or 403
        self.faults = Faults()
        self.asked: list[Asked] = []
        self.sent: dict[str, int] = defaultdict(int)  # bytes of each file that went out
        self.lock = threading.Lock()
        self._main: dict[str, str] = {}
        self._hub, self._cdn = _Server(self, port), _Server(self, 0)
        self.url: str = self._hub.url
        self.cdn = self._cdn.url.replace("127.0.0.1", "localhost")  # another host, as to clients

    def __enter__(self) -> Self:
        for server in (self._hub, self._cdn):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._hub, self._cdn):
            server.shutdown()
            server.server_close()

    def add(self, kind: str, name: str, files: Mapping[str, Any], revision: str = "") -> str:
        """Adds a commit: contents (bytes, text, a file here) by path; returns its hash, made of them unless given."""
        contents = {
            path: content.encode()
            if isinstance(content, str)
            else content.read_bytes()
            if isinstance(content, Path)
            else content
            for path, content in files.items()
        }
        if not revision:
            digest = hashlib.sha1(name.encode(), usedforsecurity=False)
            for path in sorted(contents):
                digest.update(f"{path}\0{hashlib.sha256(contents[path]).hexdigest()}".encode())
            revision = digest.hexdigest()
        for path, content in contents.items():
            place = self.root / kind / name / revision / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        self._main[f"{kind}/{name}"] = revision
        return revision

    def revision(self, kind: str, name: str, revision: str) -> str | None:
        """The commit that a name means; None where there is none."""
        if revision == "main":
            found = sorted(place.name for place in (self.root / kind / name).iterdir())
            return self._main.get(f"{kind}/{name}", found[-1] if found else None)
        return revision if (self.root / kind / name / revision).is_dir() else None

    def take(self, faults: dict[str, list[int]], path: str) -> int | None:
        """The next fault of a file."""
        with self.lock:
            for name in (path, "*"):
                if faults.get(name):
                    return faults[name].pop(0)
        return None

    def gets(self, path: str) -> list[Asked]:
        """The downloads of a file (redirects of the hub's own are not counted)."""
        return [asked for asked in self.asked if asked.method == "GET" and asked.path.endswith(f"/{path}")]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: LocalHub, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.hub = hub
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        pass  # clients that are killed


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *arguments: Any) -> None:
        pass

    @property
    def _token(self) -> str:
        return str(self.headers.get("Authorization", "")).removeprefix("Bearer ")

    def _answer(self) -> None:
        hub, parts = self.server.hub, urlsplit(self.path)
        path = unquote(parts.path)
        with hub.lock:
            hub.asked.append(
                Asked(
                    self.command,
                    path,
                    self.headers.get("Range", ""),
                    self.headers.get("Authorization", ""),
                    self.server.server_address[1],
                )
            )
        if self._token.startswith("hf_expired"):
            self._error(401, "", "Invalid credentials in Authorization header")
        elif self.server is not hub._hub:
            self._content(hub.root / path.lstrip("/"), path.split("/", 5)[5], {})
        elif match := _API.fullmatch(path):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._api(match, parse_qs(parts.query), body.decode())
        elif match := _CACHED.fullmatch(path):
            kind, name, revision, file = match.groups()
            self._content(hub.root / kind / name / revision / file, file, {"X-Repo-Commit": revision})
        elif match := _RESOLVE.fullmatch(path):
            kind, name, revision, file = match.groups()
            self._resolve(kind or "models", name, revision, file)
        else:
            self._error(404, "", "Not Found")

    def _allowed(self, kind: str, name: str) -> bool:
        """Whether there is such a repository; answers if not."""
        if (self.server.hub.root / kind / name).is_dir():
            return True
        self._error(404 if self._token else 401, "RepoNotFound", "Repository not found")
        return False

    def _may_read(self, name: str) -> bool:
        """Whether the token opens a gated repository; answers if not."""
        hub = self.server.hub
        if name not in hub.gated or self._token == TOKEN:
            return True
        status = 401 if not self._token else hub.gated[name]
        self._error(status, "GatedRepo", f"Access to {name} is restricted. You must have access to it")
        return False

    def _api(self, match: re.Match[str], query: dict[str, list[str]], body: str) -> None:
        kind, name, what, asked, below = match.groups()
        hub = self.server.hub
        if (status := hub.take(hub.faults.status, what or "info")) is not None:
            return self._error(status, "", "asked for by the test")
        if not self._allowed(kind, name):
            return None
        if what == "auth-check":
            return self._json({}) if self._may_read(name) else None
        revision = hub.revision(kind, name, asked or "main")
        if revision is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {asked}")
        place = hub.root / kind / name / revision
        files = sorted(file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file())
        if what == "tree":
            return self._tree(place, below or "", query)
        if what == "paths-info":
            wanted = parse_qs(body).get("paths", [])
            return self._json([_entry(place, path) for path in wanted if (place / path).exists()])
        return self._json(
            {
                "_id": "0" * 24,
                "id": name,
                "author": name.split("/")[0],
                "sha": revision,
                "private": False,
                "gated": "manual" if name in hub.gated else False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "siblings": [{"rfilename": path} for path in files],
            }
        )

    def _tree(self, place: Path, below: str, query: dict[str, list[str]]) -> None:
        folder = place / below
        if not folder.is_dir():
            return self._error(404, "EntryNotFound", f"{below} does not exist")
        recursive = query.get("recursive", ["false"])[0].lower() == "true"
        paths = sorted(
            path.relative_to(place).as_posix() for path in (folder.rglob("*") if recursive else folder.iterdir())
        )
        start, page = int(query.get("cursor", ["0"])[0]), self.server.hub.page
        headers = {}
        if start + page < len(paths):
            url = self.server.url + quote(urlsplit(self.path).path)
            headers["Link"] = f'<{url}?recursive={recursive}&cursor={start + page}>; rel="next"'
        return self._json([_entry(place, path) for path in paths[start : start + page]], headers)

    def _resolve(self, kind: str, name: str, asked: str, file: str) -> None:
        hub = self.server.hub
        if (status := hub.take(hub.faults.status, file)) is not None:
            return self._error(status, "", "asked for by the test", {"Retry-After": "1"} if status == 429 else {})
        if not self._allowed(kind, name):
            return None
        if not self._may_read(name):
            return None
        revision = hub.revision(kind, name, asked)
        if revision is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {asked}")
        place = hub.root / kind / name / revision / file
        if not place.is_file():
            return self._error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": revision})
        headers = {"X-Repo-Commit": revision}
        if is_lfs(place):
            headers |= {"X-Linked-Size": str(place.stat().st_size), "X-Linked-Etag": f'"{sha256(place)}"'}
            headers["Location"] = f"{hub.cdn}/{kind}/{quote(f'{name}/{revision}/{file}')}"
            return self._send(302, b"", headers)
        headers |= {"ETag": f'"{git_blob(place)}"'}
        headers["Location"] = f"/api/resolve-cache/{kind}/{quote(f'{name}/{revision}/{file}')}"
        return self._send(307, b"", headers)

    def _content(self, place: Path, file: str, headers: dict[str, str]) -> None:
        hub = self.server.hub
        content = place.read_bytes()
        etag = sha256(place) if is_lfs(place) else git_blob(place)
        headers = headers | {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        status, size, found = 200, len(content), re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found and not hub.faults.no_range:
            start, end = int(found[1]), min(int(found[2] or size - 1), size - 1)
            if start >= size:
                return self._send(416, b"", {"Content-Range": f"bytes */{size}"})
            status, content = 206, content[start : end + 1]
            headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        if hub.faults.corrupt.get(file, 0) > 0 and content:
            hub.faults.corrupt[file] -= 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        cut = hub.take(hub.faults.cut, file)
        reset = hub.take(hub.faults.reset, file)
        time.sleep(hub.take(hub.faults.stall, file) or 0)
        self._write(file, content[: cut if cut is not None else reset])
        if cut is not None or reset is not None:
            self.close_connection = True
        if reset is not None:  # SO_LINGER 0: the other side gets ECONNRESET in place of an end
            import socket
            import struct

            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        return None

    def _write(self, file: str, content: bytes) -> None:
        hub = self.server.hub
        for start in range(0, len(content), BLOCK):
            block = content[start : start + BLOCK]
            self.wfile.write(block)
            with hub.lock:
                hub.sent[file] += len(block)
            if hub.faults.seconds_per_block:
                self.wfile.flush()
                time.sleep(hub.faults.seconds_per_block)

    def _json(self, content: Any, headers: Mapping[str, str] | None = None) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _error(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        told = {"X-Error-Code": code} if code else {}
        content = json.dumps({"error": message}).encode()
        self._send(status, content, {**told, "X-Error-Message": message, **(headers or {})})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def is_lfs(place: Path) -> bool:
    """Whether a file would be in LFS."""
    return place.suffix in LFS or place.stat().st_size >= LFS_BYTES


def sha256(place: Path) -> str:
    """Of a file's content: the ETag of LFS."""
    return hashlib.sha256(place.read_bytes()).hexdigest()


def git_blob(place: Path) -> str:
    """Git's name of a file's content: the ETag of what is not in LFS."""
    content = place.read_bytes()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def _entry(root: Path, path: str) -> dict[str, Any]:
    place = root / path
    if place.is_dir():
        return {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}
    entry: dict[str, Any] = {"type": "file", "oid": git_blob(place), "size": place.stat().st_size, "path": path}
    if is_lfs(place):
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(place)}\nsize {entry['size']}\n"
        content = f"blob {len(pointer)}\0{pointer}".encode()
        entry["oid"] = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        entry["lfs"] = {"oid": sha256(place), "size": entry["size"], "pointerSize": len(pointer)}
    return entry


if __name__ == "__main__":
    with LocalHub(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0) as served:
        print(f"export HF_ENDPOINT={served.url}")
        threading.Event().wait()
