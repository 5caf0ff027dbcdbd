"""Any server that speaks OpenAI's HTTP API, streamed: vllm, llama.cpp, ollama, a paid one.

Where the server is and the key to it are given, or come from the environment, as for the backend `openai`. A person
waits for the reply, so that nothing is tried again behind their back: a server that is busy or fails says so at once.
"""

import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain, islice
from typing import Any

import httpx

from stages.lib.chat.events import Event, Finished, Messages, PromptProgress, StreamError, check_room
from stages.lib.chat.reply_events import reply_events
from stages.lib.chat.sse import EventError, LateError, StatusError, post_events
from stages.lib.chat.thinking_stream import ThinkingSplitter, split_events
from stages.lib.conversations.turns import folded
from stages.lib.llm.openai_client import CONNECT_SECONDS, REFUSED, RefusedError, api_key, key_names
from stages.lib.llm.openai_client import base_url as server_url
from stages.lib.llm.server_limits import ServerLimits
from stages.lib.weights.models import ModelEntry, SystemRole

CHARACTERS_A_TOKEN = 3  # English has about 4; a history that is cut too early is better than one that overflows
Chunk = dict[str, Any]
TOKENS_A_TURN = 4  # its role and its marks


class ServerStream:
    """One model of one server."""

    exact_counts = False  # the API cannot count

    def __init__(
        self,
        model: str,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        *,
        base_url: str = "",
        api_key_env: str = "",
        context: int = 4096,
        thinking: bool | None = None,
        extra_body: dict[str, Any] | None = None,
        timeout: float = 600.0,
        system_role: SystemRole = "auto",
    ) -> None:
        """Connects to nothing yet.

        Args:
            model: the name the server knows the model by.
            max_new_tokens: of a reply, at most.
            temperature: 0 is greedy.
            seed: of sampling, for servers that know one.
            base_url: such as http://127.0.0.1:8000/v1; "": from the environment.
            api_key_env: the environment variable that holds the key; "": LLMILL_OPENAI_API_KEY, and where the server is
                not named either, OPENAI_API_KEY.
            context: tokens that the model takes, prompt and reply together.
            thinking: whether a hybrid reasoning model thinks first; None: as the server's chat template has it.
            extra_body: merged into each request last.
            timeout: seconds that a reply may take in all, from the request to its end.
            system_role: fold puts a system turn at the head of the first user turn; else it is sent, and a server that
                refuses it is asked otherwise (docs/servers.md).

        Raises:
            StreamError: nothing says where the server is, or not as a URL, or the variable is not set.
        """
        self._model, self._max_new_tokens, self.context, self._timeout = model, max_new_tokens, context, timeout
        self._folds = system_role == "fold"
        self._sampling: dict[str, Any] = {"temperature": temperature}
        if temperature > 0:
            self._sampling["seed"] = seed
        if thinking is not None:
            self._sampling["chat_template_kwargs"] = {"enable_thinking": thinking}
        self._limits = ServerLimits(f"server:{model}", extra_body or {})
        try:
            entry = ModelEntry(source=f"server:{model}", backend="openai", base_url=base_url, api_key_env=api_key_env)
            self._base_url, self._key = server_url(entry), api_key(entry)
        except ValueError as error:
            raise StreamError(str(error)) from error
        self._key_names = key_names(api_key_env, base_url)

    def count_tokens(self, messages: Messages) -> int:
        """An estimate: a token for three characters, four for each turn."""
        return sum(TOKENS_A_TURN - -len(turn["content"]) // CHARACTERS_A_TOKEN for turn in messages)

    def answer(
        self,
        messages: Messages,
        max_new_tokens: int | None = None,
        schema: dict[str, Any] | None = None,
        *,
        stop: threading.Event | None = None,
        conversation: str = "",
    ) -> Generator[Event, None, None]:
        """Answers as `Stream` says; a schema binds as far as the server honours `response_format`.

        How much of the prompt is read is told by llama.cpp's servers alone. `conversation` is not sent: what a server
        keeps of prompts is its own affair.

        Raises:
            StreamError: no server, no such model, a key that is refused, a reply that breaks off.
        """
        stop = stop or threading.Event()
        limit = max_new_tokens or self._max_new_tokens
        estimate = self.count_tokens(messages)
        check_room(estimate, limit, self.context)
        yield PromptProgress(0, estimate)
        if self._folds:
            messages = folded(messages)
        body = self._sampling | {"model": self._model, "messages": messages, "max_tokens": limit, "stream": True}
        if schema is not None:
            named = {"name": "reply", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        finished = False
        try:
            for event in split_events(self._events(body, stop), ThinkingSplitter("reply")):
                finished = isinstance(event, Finished)
                yield event
        except httpx.ConnectError as error:
            raise StreamError(
                f"{self._base_url}: no server answers there ({error}); start it, or name another"
            ) from error
        except httpx.TransportError as error:
            raise StreamError(f"{self._base_url}: {type(error).__name__}: {error}; ask again") from error
        except LateError as error:
            raise StreamError(f"{self._base_url}: {error}; `timeout` of the model's entry allows more") from error
        except EventError as error:
            raise StreamError(self._hidden(f"{self._base_url}: {error}")) from error
        except StatusError as error:
            # `from None`: the body may repeat the key.
            raise StreamError(self._hidden(f"{self._base_url}: {self._said(error)}")) from None
        if not finished and not stop.is_set():
            raise StreamError(f"{self._base_url}: the reply broke off before its end; ask again")

    def close(self) -> None:
        """Nothing is held."""

    def _events(self, body: dict[str, Any], stop: threading.Event) -> Iterator[Event]:
        """The reply's events; what the server is known to refuse of a body is asked otherwise."""
        asked = body | {"stream_options": {"include_usage": True}}
        try:
            first, chunks = self._limits.ask(asked, lambda sent: self._opened(sent, stop))
        except RefusedError as refusal:
            if isinstance(refusal.__cause__, StatusError):
                raise refusal.__cause__ from None
            raise
        with closing(chunks):
            yield from reply_events(chain(first, chunks))

    def _opened(self, body: dict[str, Any], stop: threading.Event) -> tuple[list[Chunk], Generator[Chunk, None, None]]:
        """The first chunk of a reply, if there is one, and the rest.

        Raises:
            RefusedError: the server refuses the body.
        """
        chunks = self._post(body, stop)
        try:
            return list(islice(chunks, 1)), chunks
        except StatusError as error:
            if error.status in REFUSED:
                raise RefusedError(f"status {error.status}: {error.body[:300]}") from error
            raise

    def _post(self, body: dict[str, Any], stop: threading.Event) -> Generator[dict[str, Any], None, None]:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        url = f"{self._base_url}/chat/completions"
        pause = httpx.Timeout(self._timeout, connect=CONNECT_SECONDS)  # seconds between two pieces of a reply
        return post_events(url, body, headers=headers, timeout=pause, stop=stop, within=self._timeout)

    def _said(self, error: StatusError) -> str:
        """What a status means, and what to do."""
        match error.status:
            case 401 | 403:
                names = " or ".join(self._key_names)
                remedy = f"the server refuses the key in {names}" if self._key else f"it wants a key: set {names}"
            case 404:
                remedy = f"the server has no model {self._model!r}, or its API is not at this base_url"
            case 429:
                remedy = (
                    f"the server is busy; ask again {f'in {error.retry_after} s' if error.retry_after else 'later'}"
                )
            case status if status in REFUSED:
                remedy = f"the server refuses the conversation for model {self._model!r}; a shorter one may pass"
            case status if status >= 500:
                remedy = "the server failed; ask again"
            case _:
                remedy = "not an answer of this API: is base_url right?"
        return f"{remedy} ({error})"

    def _hidden(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text
