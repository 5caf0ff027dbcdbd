"""What of Gradio's server can be reached from outside: what the page needs, and nothing else.

Gradio has routes that serve files, fetch URLs and call functions in its components; each of its published holes went
through one of them. The page uses none: pictures come as data URIs, exports as text. So those routes are shut, and what
comes in through the two that stay (uploads, events) may name no file but one that lies in the upload directory.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

API = "/gradio_api/"
PATHS = {"/", "/config", "/config/", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json", "/login", "/login/"}
PATHS |= {"/login_check", "/logout"}
PATHS |= {
    API + name
    for name in ("queue/join", "queue/data", "upload", "upload_progress", "theme.css", "startup-events", "app_id")
}
PATHS |= {API + name for name in ("login_check", "user", "token", "cancel", "reset", "info")}
PREFIXES = ("/assets/", "/static/", "/svelte/", API + "heartbeat/")
EVENTS = API + "queue/join"
MOST_EVENT_BYTES = 1_000_000
HEADERS = {
    # gr.HTML evaluates its templates (unsafe-eval); nothing is loaded from, or told to, another host.
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Door:
    """ASGI middleware in front of Gradio."""

    def __init__(self, app: ASGIApp, uploads: Path, hosts: frozenset[str] | None) -> None:
        """`uploads`: where Gradio puts uploaded files; `hosts`: names the page may be asked for by, None: any."""
        self._app, self._uploads, self._hosts = app, uploads.resolve(), hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers it with 403, 404 or 413."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        path = scope["path"]
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if self._hosts is not None and _host_name(headers.get(b"host", "")) not in self._hosts:
            await _refuse(send, 403, "this page is not served under that name")
        elif (path not in PATHS and not path.startswith(PREFIXES)) or ".." in path or "\\" in path:
            await _refuse(send, 404, "not found")
        elif path.rstrip("/") == EVENTS:
            await self._event(scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(send))

    async def _event(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MOST_EVENT_BYTES:
                await _refuse(send, 413, "too much for one event")
                return
        try:
            named = list(_paths(json.loads(body)))
        except (ValueError, RecursionError):
            await _refuse(send, 403, "an event is JSON")
            return
        if not all(is_upload(path, self._uploads) for path in named):
            await _refuse(send, 403, "a file that was not uploaded here")
            return
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, _with_headers(send))


def is_upload(path: Any, uploads: Path) -> bool:
    """Whether it is a file UPLOADS/DIRECTORY/NAME, by no link and no other way to write it."""
    if not isinstance(path, str) or not path.startswith(f"{uploads}/") or "\\" in path or "\0" in path:
        return False
    place = Path(path)
    return place.parent.parent == uploads and place.resolve() == place and place.is_file()


def told(event: Any) -> dict[str, Any]:
    """What app/page.js told with an event; a browser can say anything."""
    return event if isinstance(event, dict) else {}


def number(text: Any) -> int:
    """A whole number that a browser told; -1 where it is none."""
    return int(text) if str(text).isdecimal() and len(str(text)) < 9 else -1


def _paths(content: Any) -> Iterator[Any]:
    """What stands under the key `path` anywhere (of Gradio's file data)."""
    if isinstance(content, dict):
        if "path" in content:
            yield content["path"]
        for value in content.values():
            yield from _paths(value)
    elif isinstance(content, list):
        for value in content:
            yield from _paths(value)


def _host_name(host: str) -> str:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return name.strip("[]").lower()


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return sending


async def _refuse(send: Send, status: int, why: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": why.encode()})
