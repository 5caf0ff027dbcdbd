"""Each kind of hole that Gradio has had, tried on a page that runs; and one person's things asked for by another."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.people import new_token
from tests.app.conftest import RunningPage
from tests.app.page_client import PageClient
from tests.made_pdf import paragraphs_pdf

SECRET = "The launch code of Alice is 7741 and nobody else knows it."


@pytest.fixture
def alice(page: RunningPage) -> PageClient:
    return PageClient(page.url, new_token())


@pytest.fixture
def mallory(page: RunningPage) -> PageClient:
    return PageClient(page.url, new_token())


@pytest.fixture
def other_server() -> Iterator[tuple[str, list[str]]]:
    """A server that should never be asked, and what it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"internal")

        do_HEAD = do_POST = do_GET  # noqa: N815  # as http.server calls them

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def library_files(page: RunningPage, client: PageClient) -> list[Path]:
    key = hashlib.sha256(client.token.encode()).hexdigest()
    return sorted((page.cache / "app" / "libraries" / key).rglob("content"))


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=//etc/passwd",
        "/gradio_api/file=C:/Windows/win.ini",
        "/gradio_api/file=C:%5CWindows%5Cwin.ini",
        "/gradio_api/file=..%2f..%2fparams.yaml",
        "/gradio_api/file=params.yaml",
        "/gradio_api/file/etc/passwd",
        "/file=/etc/passwd",
        "/file/etc/passwd",
        "/static/..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static//etc/passwd",
        "/static/C:%5CWindows%5Cwin.ini",
        "/assets/..%2f..%2f..%2frouting.py",
        "/svelte/..%2f..%2f..%2froutes.py",
        "/gradio_api/custom_component/1/client/component/..%2f..%2findex.html",
        "/gradio_api/stream/x/1/1/playlist.m3u8",
        "/gradio_api/deep_link?session_hash=x",
        "/gradio_api/runs",
        "/gradio_api/vibe-code",
        "/monitoring",
        "/monitoring/summary",
        "/gradio_api/openapi.json",
        "/docs",
    ],
)
def test_no_route_serves_a_file_or_tells_of_the_server(page: RunningPage, path: str) -> None:
    response = httpx.get(page.url + path)
    assert response.status_code in (403, 404), response.text[:200]
    assert "root:" not in response.text


@pytest.mark.parametrize(
    "path", ["component_server", "run/predict", "api/predict", "call/predict", "call/v2/x", "stream/1", "vibe-edit"]
)
def test_no_route_calls_functions_but_the_queue(page: RunningPage, path: str) -> None:
    for way in (f"/gradio_api/{path}", f"/gradio_api/{path}/"):
        assert httpx.post(page.url + way, json={"data": [], "fn_name": "ls"}).status_code == 404


def test_uploaded_files_are_served_to_nobody_and_go_at_once(page: RunningPage, alice: PageClient) -> None:
    [path] = alice.upload("paper.txt", SECRET.encode())
    assert Path(path).is_file()
    assert alice.http.get(f"/gradio_api/file={path}").status_code == 404
    event = {"act": "uploaded", "files": [{"path": path, "name": "paper.txt"}]}
    assert "paper.txt: 1 page" in alice.act("files", "act", {}, event)
    assert not Path(path).exists()
    assert page.uploads == []


@pytest.mark.parametrize(
    "name", ["../../../evil.txt", "/tmp/evil.txt", "C:\\Windows\\evil.txt", "..\\..\\evil.txt", "a/../../evil.txt"]
)
def test_the_name_of_an_upload_becomes_no_path(page: RunningPage, alice: PageClient, name: str) -> None:
    before = {path for path in page.cache.rglob("*") if path.is_dir()}
    [path] = alice.upload(name, b"Some words about apples.")
    uploads = page.cache / "app" / "uploads"
    assert Path(path).resolve().is_relative_to(uploads.resolve())
    assert Path(path).parent.parent.parent.resolve() == uploads.resolve()
    alice.act("files", "act", {}, {"act": "uploaded", "files": [{"path": path, "name": name}]})
    assert [file for file in page.cache.rglob("*evil*") if file.is_file()] == []
    assert all("evil" not in str(path) for path in {path for path in page.cache.rglob("*") if path.is_dir()} - before)
    assert len(library_files(page, alice)) == 1


def test_no_event_takes_a_file_that_was_not_uploaded(page: RunningPage, alice: PageClient, mallory: PageClient) -> None:
    alice.add("alice.txt", SECRET.encode())
    [stored] = library_files(page, alice)
    link = page.cache / "app" / "link"
    uploads = next((page.cache / "app" / "uploads").iterdir())
    inside = uploads / "f" / "link.txt"
    inside.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    inside.unlink(missing_ok=True)
    inside.symlink_to(stored)
    paths = [
        str(stored),
        "/etc/passwd",
        "params.yaml",
        "C:\\Windows\\win.ini",
        "C:/Windows/win.ini",
        "\\\\server\\share\\file",
        "file:///etc/passwd",
        f"{uploads}/../../libraries/{stored.parent.parent.name}/{stored.parent.name}/content",
        str(inside),
        str(uploads),
        "",
        None,
        {"path": "/etc/passwd"},
    ]
    for event in mallory.config["dependencies"]:  # each event, as flagging was one
        for path in paths:
            data = {"path": path, "meta": {"_type": "gradio.FileData"}}
            given = [[data] if i % 2 else data for i in range(max(1, len(event["inputs"])))]
            for response in (mallory.join(event, given), mallory.join(event, [], {"files": [{"path": path}]})):
                assert response.status_code == 403, (path, response.text)
    inside.unlink()
    assert library_files(page, mallory) == []


def test_the_server_asks_no_other_server(mallory: PageClient, other_server: tuple[str, list[str]]) -> None:
    url, asked = other_server
    event = mallory.event("files", "act")
    for data in (
        {"path": f"{url}/x", "meta": {"_type": "gradio.FileData"}},
        {"path": f"{url}/x", "url": f"{url}/x", "meta": {"_type": "gradio.FileData"}},
        {"path": f"http://x@{url[7:]}/y", "is_stream": True, "meta": {"_type": "gradio.FileData"}},
    ):
        assert mallory.join(event, [mallory.token, [], [data]]).status_code == 403
    for path in (f"/gradio_api/proxy={url}/x", f"/gradio_api/file={url}/x", f"/proxy={url}/x"):
        assert mallory.http.get(path).status_code == 404
    [path] = mallory.upload("a.txt", b"Words about apples and pears.")
    data = {"path": path, "url": f"{url}/x", "orig_name": f"{url}/x", "meta": {"_type": "gradio.FileData"}}
    mallory.act("files", "act", {}, {"act": "uploaded", "files": [data]})
    assert asked == []


def test_nothing_is_flagged_and_no_function_has_a_public_name(alice: PageClient) -> None:
    assert all(event["api_visibility"] == "private" for event in alice.config["dependencies"] if event["backend_fn"])
    assert not any("flag" in str(event.get("api_name")) for event in alice.config["dependencies"])
    assert not any(component["type"] in ("file", "fileexplorer", "image") for component in alice.components.values())


def test_one_person_cannot_reach_anothers_document(page: RunningPage, alice: PageClient, mallory: PageClient) -> None:
    alice.add("alice.pdf", paragraphs_pdf(SECRET))
    sha256 = library_files(page, alice)[0].parent.name
    assert "data:image/png" in alice.act("documents", "act", {}, {"act": "show", "sha": sha256})
    for event in ({"act": "show", "sha": sha256}, {"act": "remove", "sha": sha256}, {"act": "filter", "sha": sha256}):
        said = mallory.act("documents", "act", {}, event)
        assert "alice.pdf" not in said and "data:image" not in said
    said = mallory.act("page", "act", {}, {"act": "turn", "sha": sha256, "page": "1"})
    assert "no longer in your library" in said and "data:image" not in said
    for wrong in ("../" + sha256, "..", "", "0" * 64, "/etc/passwd"):
        assert "data:image" not in mallory.act("page", "act", {}, {"act": "turn", "sha": wrong, "page": "1"})
    assert library_files(page, alice)


def test_what_a_browser_says_is_checked(alice: PageClient) -> None:
    alice.add("alice.txt", SECRET.encode())
    events: list[Any] = [
        None,
        [],
        "x",
        {"act": "rate", "turn": "-1"},
        {"act": "rate", "turn": "9" * 400, "rating": "up"},
    ]
    for event in events:
        assert '"error"' not in alice.act("talk", "act", {}, event).replace('"error": null', "")
    assert alice.http.post("/gradio_api/queue/join", content=b"[" * 200_000).status_code == 403
    assert alice.http.post("/gradio_api/queue/join", content=b" " * 1_100_000).status_code == 413


def test_another_name_of_the_machine_is_refused(page: RunningPage) -> None:
    assert httpx.get(page.url, headers={"Host": "rebound.example"}).status_code == 403
    assert httpx.get(page.url, headers={"Host": f"localhost:{page.port}"}).status_code == 200


def test_the_browser_is_told_to_load_nothing_from_elsewhere(page: RunningPage) -> None:
    policy = httpx.get(page.url).headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy
    assert "frame-ancestors 'none'" in policy
