"""The engine `openai`: any server that speaks OpenAI's HTTP API (vllm, llama.cpp, ollama, a paid one).

`source: server:NAME` is the name the server knows the model by. Where the server is and the key
to it come from the environment: LLMILL_OPENAI_BASE_URL (else OPENAI_BASE_URL), such as
http://127.0.0.1:8000/v1, and LLMILL_OPENAI_API_KEY (else OPENAI_API_KEY). Neither is part of the
ledger's keys, so that a server may move; two servers that call different weights by one name need
a `revision` in their entries.

What the API cannot promise: a schema binds as far as the server honours `response_format`; an
`answer_prefix` is sent as the beginning of the assistant's turn, which some servers continue
(llama.cpp) and some answer anew; scores are exact for choices of one token among the server's
20 likeliest, an upper bound for the rest.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, cast

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from stages.lib.llm import chat_text
from stages.lib.llm.in_flight import answers_in_flight
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.models import ModelEntry

ATTEMPTS = 7  # of one request; with the waits below about a minute of outage is sat out
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds, doubling in between
TIMEOUT = httpx.Timeout(600.0, connect=10.0)  # seconds; a long queue in front of a reply is not an error
TOP_LOGPROBS = 20  # the most that the API gives
REFUSED = (400, 413, 422)  # the request's own fault: this reply fails, the others go on


class TransientError(RuntimeError):
    """A failure that may pass: 429, 5xx, a broken connection, a body that is not what the API says."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds that the server asks to wait


class RefusedError(Exception):
    """The server refuses this one request."""


class OpenAiBackend:
    """One model of one server."""

    version = "openai v1"

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
    def client(self) -> httpx.Client:
        """The connection pool, with the key."""
        key = os.environ.get("LLMILL_OPENAI_API_KEY") or os.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=self.entry.concurrency)
        return httpx.Client(headers=headers, timeout=TIMEOUT, limits=limits)

    def render(self, request: GenerateRequest | ScoreRequest) -> str:
        """The turns as JSON: the server applies its own chat template."""
        return json.dumps(self._prompt(request), ensure_ascii=False)

    def generate(
        self, requests: Sequence[GenerateRequest], missing: Sequence[int]
    ) -> Iterator[list[tuple[int, Reply]]]:
        """Replies to requests[i] for i in missing, as they come.

        Raises:
            RuntimeError: the server refuses the key or model, or keeps failing.
        """
        return answers_in_flight(lambda i: self._reply(requests[i]), missing, self.entry.concurrency)

    def score(self, requests: Sequence[ScoreRequest], missing: Sequence[int]) -> Iterator[list[tuple[int, Score]]]:
        """Scores of requests[i] for i in missing, as they come.

        Raises:
            ValueError: the server gives no log-probabilities, or none of the choices is among its 20 likeliest tokens.
            RuntimeError: the server refuses the key or model, or keeps failing.
        """
        return answers_in_flight(lambda i: self._score(requests[i]), missing, self.entry.concurrency)

    def close(self) -> None:
        """Closes the connections."""
        if "client" in self.__dict__:
            self.client.close()

    def _prompt(self, request: GenerateRequest | ScoreRequest) -> dict[str, Any]:
        prompt = request.prompt
        if not prompt.chat:
            return {"prompt": chat_text.plain(prompt)}
        forced = [{"role": "assistant", "content": prompt.answer_prefix}] if prompt.answer_prefix else []
        return {"messages": [*chat_text.messages(prompt), *forced]}

    def _reply(self, request: GenerateRequest) -> Reply:
        sampling = request.sampling
        body = self._prompt(request) | {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature}
        if sampling.temperature > 0:
            body |= {"top_p": sampling.top_p, "seed": sampling.seed}
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if request.schema is not None:
            named = {"name": "reply", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        try:
            choice, usage = self._ask(body)
        except RefusedError as error:
            return Reply.refused(str(error))
        text = (choice["message"].get("content") if request.prompt.chat else choice["text"]) or ""
        text = chat_text.visible(text, thinking=text.lstrip().startswith("<think>"))
        text = text.removeprefix(request.prompt.answer_prefix)  # of a server that repeats what it continues
        reason = {"stop": "stop", "length": "length", "tool_calls": "stop"}.get(
            str(choice.get("finish_reason")), "error"
        )
        return Reply(
            text=text,
            finish_reason=cast(Literal["stop", "length", "error"], reason),
            prompt_tokens=int(usage.get("prompt_tokens", 0)),
            completion_tokens=int(usage.get("completion_tokens", 0)),
            error=f"the server ended the reply with {choice.get('finish_reason')!r}" if reason == "error" else "",
        )

    def _score(self, request: ScoreRequest) -> Score:
        chat_shape = {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        wanted = chat_shape if request.prompt.chat else {"logprobs": TOP_LOGPROBS}
        try:
            choice, _ = self._ask(self._prompt(request) | {"max_tokens": 1, "temperature": 0.0} | wanted)
        except RefusedError as error:
            raise ValueError(f"{self.base_url}: cannot score {request.choices}: {error}") from error
        likeliest = _likeliest(choice)
        if not likeliest:
            raise ValueError(f"{self.base_url}: cannot score: the server gives no log-probabilities")
        if not any(option in likeliest for option in request.choices):
            raise ValueError(
                f"{self.base_url}: cannot score {request.choices}: the server's likeliest tokens are "
                f"{sorted(likeliest, key=likeliest.__getitem__, reverse=True)}; it can score choices of one token"
            )
        # A token that is not listed has at most the probability of the last listed, and at most what the others leave.
        left = 1.0 - math.fsum(math.exp(logprob) for logprob in likeliest.values())
        bound = min(*likeliest.values(), math.log(max(left, 1e-12)))
        logprobs = tuple(round(likeliest.get(option, bound), 5) for option in request.choices)
        return Score(logprobs=logprobs, tokens=(1,) * len(request.choices))

    def _ask(self, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
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
            response = self.client.post(url, json={"model": self.model} | body)
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


def _likeliest(choice: dict[str, Any]) -> dict[str, float]:
    """Token -> log-probability of the first position of an answer, in either of the API's two shapes."""
    logprobs = choice.get("logprobs") or {}
    if "content" in logprobs:
        listed = (logprobs["content"] or [{}])[0].get("top_logprobs") or []
        return {entry["token"]: float(entry["logprob"]) for entry in reversed(listed)}
    first: dict[str, float] = (logprobs.get("top_logprobs") or [{}])[0]
    return first


def _retry_after(response: httpx.Response) -> float:
    """Seconds of the Retry-After header; a date in it counts as none."""
    value = response.headers.get("retry-after", "")
    return min(float(value), 10 * LONGEST_WAIT) if value.replace(".", "", 1).isdigit() else 0.0
