"""The wire to an OpenAI-compatible server: where it is, the key, deadlines, attempts, and whose fault a failure is.

A request gets `timeout` seconds (its entry's) from its first byte to the last of its answer. What may pass is tried
again. When attempts run out without the server having answered anybody meanwhile, a tiny request asks whether it still
answers at all: if so, the failure is this one request's (`FailedError`), else the server's, which ends the run.
docs/servers.md is the long form.
"""

import asyncio
import json
import math
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from stages.lib.weights.models import ModelEntry, check_url

ATTEMPTS = 7  # of one request; with the waits below about a minute of outage is sat out
FEW_ATTEMPTS = 4  # where the server answers others meanwhile: the failure is the request's own
TIMED_OUT_ATTEMPTS = 2  # each has taken `timeout` seconds
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds, doubling in between
LONGEST_ASKED_WAIT = 300.0  # seconds that a server's Retry-After is honoured for
CONNECT_SECONDS, PROBE_SECONDS = 10.0, 60.0
REFUSED = (400, 413, 422, 501)  # the request's own fault: this reply fails, the others go on
PASSING = (408, 409, 425, 429)  # and all from 500 on
URL_NAMES = ("LLMILL_OPENAI_BASE_URL", "OPENAI_BASE_URL")
KEY_NAMES = ("LLMILL_OPENAI_API_KEY", "OPENAI_API_KEY")
PROBE = {"messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 16}
TEXT_PROBE = {"prompt": "Yes", "max_tokens": 1}

Choice = dict[str, Any]
Usage = dict[str, Any]


class TransientError(RuntimeError):
    """A failure that may pass: 408, 429, 5xx, a broken connection, a body that is not what the API says."""

    def __init__(self, message: str, *, retry_after: float = 0.0, attempts: int = ATTEMPTS, busy: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds that the server asks to wait
        self.attempts = attempts  # at most, of a request that fails so
        self.busy = busy  # the server turns requests away, whichever they are


class RefusedError(Exception):
    """The server refuses this one request."""


class FailedError(Exception):
    """This one request fails again and again, while the server answers others."""


@dataclass(frozen=True)
class HttpAnswer:
    """Status, headers and body of an answer."""

    status: int
    headers: httpx.Headers
    body: bytes


class OpenAiClient:
    """Asks one model of one server; any number of threads may ask at once."""

    def __init__(self, entry: ModelEntry, first_wait: float = FIRST_WAIT) -> None:
        self.entry = entry
        self.model = entry.source.partition(":")[2]
        self.first_wait = first_wait
        self.fitted: Callable[[dict[str, Any]], dict[str, Any]] = dict  # what the server is known to take of a body
        self._answered = 0  # answers of the server, whatever to
        self._connections: Connections | None = None
        self._connecting, self._probing = threading.Lock(), threading.Lock()
        self._ended = threading.Event()  # nobody waits for another attempt any more

    @cached_property
    def base_url(self) -> str:
        """Where the server is, as `base_url` says."""
        return base_url(self.entry)

    @cached_property
    def key(self) -> str:
        """The key, or "", as `api_key` says."""
        return api_key(self.entry)

    @property
    def connections(self) -> "Connections":
        """The connection pool, with the key."""
        with self._connecting:
            if self._connections is None:
                headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
                local = _is_local(urlsplit(self.base_url).hostname or "")
                self._connections = Connections(headers, self.entry.concurrency + 1, local)  # one for the probe
            return self._connections

    def ask(self, body: dict[str, Any]) -> tuple[Choice, Usage]:
        """Asks until there is an answer; returns its first choice and the usage.

        Raises:
            RefusedError: the server refuses this request.
            FailedError: the request fails again and again, and the server answers others.
            RuntimeError: the server does not answer, or refuses the key or the model.
        """
        answered = self._answered
        attempts = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=lambda state: self._is_enough(state, answered, body),
            wait=self._wait,
            sleep=self._ended.wait,
            reraise=True,
        )
        try:
            for attempt in attempts:
                with attempt:
                    found = self._ask_once(body)
                    self._answered += 1
                    return found
        except TransientError as error:
            if self._answered == answered and not self._ended.is_set() and not self._answers(body, answered):
                self.end()
                raise
            raise FailedError(str(error)) from error
        except (RefusedError, FailedError):
            self._answered += 1
            raise
        except BaseException:
            self.end()
            raise
        raise AssertionError("Retrying returns or raises")

    def end(self) -> None:
        """Nobody waits for another attempt; what is under way may come back."""
        self._ended.set()

    def close(self) -> None:
        """Closes the connections."""
        self.end()
        with self._connecting:
            connections, self._connections = self._connections, None
        if connections is not None:
            connections.close()

    def _is_enough(self, state: RetryCallState, answered: int, body: dict[str, Any]) -> bool:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, TransientError), error
        if self._ended.is_set() or state.attempt_number >= error.attempts:
            return True
        if state.attempt_number < FEW_ATTEMPTS or error.busy:
            return False
        return self._answered > answered or (state.attempt_number == FEW_ATTEMPTS and self._answers(body, answered))

    def _answers(self, body: dict[str, Any], answered: int) -> bool:
        """Whether the server has answered anybody since, or does now."""
        with self._probing:
            if self._answered == answered:
                try:
                    self._ask_once(self.fitted(PROBE if "messages" in body else TEXT_PROBE), PROBE_SECONDS)
                except TransientError:
                    return False
                except RefusedError:
                    pass
                self._answered += 1
        return True

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, TransientError) else 0.0
        doubling = wait_exponential_jitter(self.first_wait, max=LONGEST_WAIT, jitter=self.first_wait)
        return max(asked, float(doubling(state)))

    def _ask_once(self, body: dict[str, Any], most: float = math.inf) -> tuple[Choice, Usage]:
        url = f"{self.base_url}/{'chat/completions' if 'messages' in body else 'completions'}"
        try:
            answer = self.connections.post(url, {"model": self.model} | body, min(self.entry.timeout, most))
        except TimeoutError as error:
            reason = f"{url}: no whole answer within {self.entry.timeout:g} s (`timeout` of the model's entry)"
            raise TransientError(reason, attempts=TIMED_OUT_ATTEMPTS) from error
        except httpx.RequestError as error:
            busy = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            raise TransientError(f"{url}: {type(error).__name__}: {error}", busy=busy) from error
        said = self._hidden(what_it_says(answer))
        status = answer.status
        if status in PASSING or (status >= 500 and status not in REFUSED):
            if "insufficient_quota" in said or b"insufficient_quota" in answer.body:  # waiting does not fill an account
                raise RuntimeError(f"{url}: status {status}: {said}")
            raise TransientError(
                f"{url}: status {status}: {said}", retry_after=asked_wait(answer.headers), busy=status == 429
            )
        if status in REFUSED:
            raise RefusedError(f"status {status}: {said}")
        if 300 <= status < 400:
            place = answer.headers.get("location", "nowhere")
            raise RuntimeError(f"{url}: the server redirects to {place!r} (status {status}): name that as base_url")
        if not 200 <= status < 300:
            place = (
                "; is base_url right? Most end in /v1" if status in (404, 405) and b"model" not in answer.body else ""
            )
            raise RuntimeError(f"{url}: status {status} for model {self.model!r}: {said}{place}")
        try:
            return _first_choice(answer, "message" if "messages" in body else "text")
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise TransientError(f"{url}: not an answer of this API: {said}") from error

    def _hidden(self, text: str) -> str:
        return text.replace(self.key, "***") if self.key else text


class Connections:
    """HTTP with one deadline for a whole exchange, which a server that sends a byte a second meets too.

    A thread of its own runs an event loop. Both are left where they are when the process ends, whatever they wait for.
    """

    def __init__(self, headers: dict[str, str], most: int, local: bool) -> None:
        """`most`: connections at once; `local`: the server is on this machine, which no proxy leads to."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server connections", daemon=True)
        self._thread.start()
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=most),
            trust_env=not local,
        )

    def post(self, url: str, body: dict[str, Any], seconds: float) -> HttpAnswer:
        """Posts JSON; the whole exchange may take so many seconds.

        Raises:
            TimeoutError: the exchange took longer than it may.
            httpx.RequestError: no connection, one that broke off, or a body that cannot be decoded.
        """
        return asyncio.run_coroutine_threadsafe(self._post(url, body, seconds), self._loop).result()

    async def _post(self, url: str, body: dict[str, Any], seconds: float) -> HttpAnswer:
        async with asyncio.timeout(seconds):
            response = await self._client.post(url, json=body)
        return HttpAnswer(response.status_code, response.headers, response.content)

    def close(self) -> None:
        """Hangs up, on whoever is still asking too."""

        async def hang_up() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self._client.aclose()

        try:
            asyncio.run_coroutine_threadsafe(hang_up(), self._loop).result(timeout=1.0)
        except TimeoutError:
            return  # the loop's thread ends with the process
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=1.0)
        if not self._thread.is_alive():
            self._loop.close()


def base_url(entry: ModelEntry) -> str:
    """Where the server of an entry is: its own `base_url`, else what the environment says.

    Raises:
        ValueError: neither says it, or not as a URL.
    """
    url = entry.base_url or next((os.environ[name] for name in URL_NAMES if os.environ.get(name)), "")
    if not url:
        raise ValueError(
            f"{entry.source}: write base_url into its entry under models:, or set LLMILL_OPENAI_BASE_URL (and "
            "LLMILL_OPENAI_API_KEY), such as http://127.0.0.1:8000/v1"
        )
    check_url(url)
    return url.rstrip("/").removesuffix("/chat/completions")


def api_key(entry: ModelEntry) -> str:
    """The key of an entry's server: of the variable that it names, else of `key_names`; "" without any.

    Raises:
        ValueError: the variable that the entry names is not set, or what it holds is no key.
    """
    if entry.api_key_env and not os.environ.get(entry.api_key_env):
        raise ValueError(
            f"{entry.source}: the environment variable {entry.api_key_env}, which is to hold the server's key, is not "
            "set"
        )
    names = key_names(entry.api_key_env, entry.base_url)
    for name in names:
        if key := os.environ.get(name, "").strip():
            if not key.isascii() or not key.isprintable():
                raise ValueError(f"{entry.source}: the key in {name} holds letters or line breaks that no key has")
            return key
    return ""


def key_names(api_key_env: str, url: str) -> tuple[str, ...]:
    """The variables that may hold the key of a server: OPENAI_API_KEY is not sent to another company's."""
    if api_key_env:
        return (api_key_env,)
    return KEY_NAMES if not url or _is_trusted(urlsplit(url).hostname or "") else KEY_NAMES[:1]


def _is_local(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_trusted(host: str) -> bool:
    """Whether a host is OpenAI's, or on this machine or network."""
    try:
        return ip_address(host).is_private
    except ValueError:
        return host == "openai.com" or host.endswith((".openai.com", ".local", ".localhost")) or "." not in host


def what_it_says(answer: HttpAnswer) -> str:
    """What an answer that is none says, in the server's own words: its error's message, or how it begins."""
    text = answer.body.decode(errors="replace")
    try:
        found = json.loads(text)
    except ValueError:
        return repr(text[:300])
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(key):
            found = found[key]
    if not isinstance(found, str):
        return text[:300]
    return found[:300]


def asked_wait(headers: httpx.Headers) -> float:
    """Seconds that a server asks to wait: `retry-after-ms`, or Retry-After in seconds or as a date."""
    milliseconds, value = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    try:
        seconds = float(milliseconds) / 1000 if milliseconds else float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_ASKED_WAIT) if math.isfinite(seconds) else 0.0


def _first_choice(answer: HttpAnswer, part: str) -> tuple[Choice, Usage]:
    """The first choice of a body, and the usage; raises one of Python's own errors where there is none."""
    charset = httpx.Response(200, headers=answer.headers).charset_encoding or "utf-8"
    try:
        content = json.loads(answer.body.decode(charset))
    except LookupError as error:
        raise ValueError(f"unknown charset {charset!r}") from error
    choice = content["choices"][0]
    if not isinstance(choice[part], dict if part == "message" else str):
        raise TypeError(f"{part} is {type(choice[part])}")
    usage = content.get("usage")
    return choice, usage if isinstance(usage, dict) else {}
