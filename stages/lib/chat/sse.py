"""Server-sent events of an OpenAI-compatible server, read so that a person can stop them at any moment."""

import asyncio
import json
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from typing import Any

import httpx

CHECK_SECONDS = 0.05  # how often one who waits looks whether it was stopped
BEGINNING = 300  # characters of a body that a message shows


class StatusError(Exception):
    """The server answers with another status than 200."""

    def __init__(self, status: int, body: str, retry_after: str) -> None:
        super().__init__(f"status {status}: {body[:BEGINNING]}")
        self.status, self.body, self.retry_after = status, body, retry_after


class EventError(Exception):
    """The server sends an error among the events, or something that is no event."""


class LateError(EventError):
    """The reply did not end in time."""


def post_events(
    url: str,
    body: dict[str, Any],
    *,
    headers: dict[str, str],
    timeout: httpx.Timeout | None,
    stop: threading.Event,
    within: float | None = None,
) -> Generator[dict[str, Any], None, None]:
    """Posts the body and yields the JSON of each event as it comes, until `[DONE]` or the end.

    A thread of its own reads, so that closing the generator or setting `stop` drops the connection at once, whatever
    the server does: while connecting, before the headers, between two events. So does the end of `within` seconds in
    all, however many events came.

    Raises:
        httpx.TransportError: no connection, or a broken one.
        StatusError: another status than 200.
        EventError: an error event, or no events at all.
        LateError: they did not end in time.
    """
    latest = None if within is None else time.monotonic() + within
    inbox: queue.SimpleQueue[dict[str, Any] | Exception | None] = queue.SimpleQueue()

    async def read() -> None:
        # A server on this machine needs neither certificates, which take 30 ms to load, nor the environment's proxy.
        local = httpx.URL(url).host in ("127.0.0.1", "::1", "localhost")
        secure = url.startswith("https:")
        async with (
            httpx.AsyncClient(headers=headers, timeout=timeout, trust_env=not local, verify=secure) as client,
            client.stream("POST", url, json=body) as response,
        ):
            if response.status_code != 200:
                text = (await response.aread()).decode(errors="replace")
                raise StatusError(response.status_code, text, response.headers.get("retry-after", ""))
            await _read(response, inbox.put)

    loop = asyncio.new_event_loop()
    task = loop.create_task(read())

    def run() -> None:
        try:
            loop.run_until_complete(task)
            inbox.put(None)
        except asyncio.CancelledError:
            inbox.put(None)
        except Exception as error:  # a thread's exception would be lost
            inbox.put(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while not stop.is_set():
            if latest is not None and time.monotonic() >= latest:
                raise LateError(f"no whole reply within {within:g} s")
            try:
                item = inbox.get(timeout=CHECK_SECONDS)
            except queue.Empty:
                continue
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        with suppress(RuntimeError):  # it has ended, and its loop is closed
            loop.call_soon_threadsafe(task.cancel)
        thread.join()


async def _read(response: httpx.Response, put: Callable[[dict[str, Any]], None]) -> None:
    """Puts each event of a response that streams.

    Raises:
        EventError: an error event, or no events at all.
    """
    strange, found = "", False
    async for line in _lines(response):
        name, _, value = line.partition(":")
        if name == "error":  # of older llama.cpp servers
            raise EventError(value.strip()[:BEGINNING])
        if name != "data":  # comments that keep the connection alive, blank lines, event names
            strange += line if name not in ("", "event", "id", "retry") else ""
            continue
        if value.strip() == "[DONE]":
            return
        put(_event(value))
        found = True
    if not found:
        raise EventError(f"no events but {strange[:BEGINNING]!r}: it does not stream as this API does")


async def _lines(response: httpx.Response) -> AsyncGenerator[str, None]:
    """The lines of a response. httpx's own also end at U+2028 and its like, which JSON may hold as they stand."""
    rest = b""
    async for part in response.aiter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")
    yield rest.decode(errors="replace")


def _event(value: str) -> dict[str, Any]:
    try:
        event = json.loads(value)
    except ValueError as error:
        raise EventError(f"an event that is no JSON: {value[:BEGINNING]!r}") from error
    if not isinstance(event, dict):
        raise EventError(f"an event that is no JSON object: {value[:BEGINNING]!r}")
    if event.get("error"):
        told = event["error"]
        raise EventError(str(told.get("message") or told if isinstance(told, dict) else told)[:BEGINNING])
    return event
