"""The wire to an OpenAI-compatible server: where it is, the key, retries, and which failures may pass."""

import os
from functools import cached_property
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from stages.lib.weights.models import ModelEntry

ATTEMPTS = 7  # of one request; with the waits below about a minute of outage is sat out
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds, doubling in between
TIMEOUT = httpx.Timeout(600.0, connect=10.0)  # seconds; a long queue in front of a reply is not an error
REFUSED = (400, 413, 422)  # the request's own fault: this reply fails, the others go on


class TransientError(RuntimeError):
    """A failure that may pass: 429, 5xx, a broken connection, a body that is not what the API says."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds that the server asks to wait


class RefusedError(Exception):
    """The server refuses this one request."""


class OpenAiClient:
    """Asks one model of one server."""

    def __init__(self, entry: ModelEntry, first_wait: float = FIRST_WAIT) -> None:
        self.entry = entry
        self.model = entry.source.partition(":")[2]
        self.first_wait = first_wait

    @cached_property
    def base_url(self) -> str:
        """Where the server is.

        Raises:
            ValueError: the environment does not say.
        """
        url = os.environ.get("LLMILL_OPENAI_BASE_URL") or os.environ.get("OPENAI_BASE_URL")
        if not url:
            raise ValueError(
                f"{self.entry.source}: set LLMILL_OPENAI_BASE_URL (and LLMILL_OPENAI_API_KEY), "
                "such as http://127.0.0.1:8000/v1"
            )
        return url.rstrip("/")

    @cached_property
    def connections(self) -> httpx.Client:
        """The connection pool, with the key."""
        key = os.environ.get("LLMILL_OPENAI_API_KEY") or os.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=self.entry.concurrency)
        return httpx.Client(headers=headers, timeout=TIMEOUT, limits=limits)

    def ask(self, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Asks until there is an answer; returns its first choice and the usage."""
        for attempt in Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=self._wait,
            reraise=True,
        ):
            with attempt:
                return self._ask_once(body)
        raise AssertionError("Retrying returns or raises")

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, TransientError) else 0.0
        doubling = wait_exponential_jitter(self.first_wait, max=LONGEST_WAIT, jitter=self.first_wait)
        return max(asked, float(doubling(state)))

    def _ask_once(self, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        url = f"{self.base_url}/{'chat/completions' if 'messages' in body else 'completions'}"
        try:
            response = self.connections.post(url, json={"model": self.model} | body)
        except httpx.TransportError as error:
            raise TransientError(f"{url}: {type(error).__name__}: {error}") from error
        status, beginning = response.status_code, response.text[:300]
        if status == 429 or status >= 500:
            raise TransientError(f"{url}: status {status}: {beginning}", _retry_after(response))
        if status in REFUSED:
            raise RefusedError(f"status {status}: {beginning}")
        if status != 200:
            raise RuntimeError(f"{url}: status {status} for model {self.model!r}: {beginning}")
        try:
            content = response.json()
            choice = content["choices"][0]
            assert isinstance(choice["message" if "messages" in body else "text"], dict if "messages" in body else str)
        except (ValueError, KeyError, IndexError, TypeError, AssertionError) as error:
            raise TransientError(f"{url}: not an answer of this API: {beginning!r}") from error
        return choice, content.get("usage") or {}

    def close(self) -> None:
        """Closes the connections."""
        if "connections" in self.__dict__:
            self.connections.close()


def _retry_after(response: httpx.Response) -> float:
    """Seconds of the Retry-After header; a date in it counts as none."""
    value = response.headers.get("retry-after", "")
    return min(float(value), 10 * LONGEST_WAIT) if value.replace(".", "", 1).isdigit() else 0.0
