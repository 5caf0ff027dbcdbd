"""A GGUF file that answers several people at once, in llama.cpp's own server inside this process (xllamacpp).

One server for each file; `concurrency` of its entry is how many it answers at once, each with `context` tokens and a
slot of its own. What was found out about xllamacpp 2026.10 by looking at its /slots, and what is done about it:

- **Stop.** A client that hangs up while the server writes is noticed with the next token. One that hangs up while the
  prompt is read is noticed after two or three batches more (of 2,048 tokens by default: ten seconds and more on a
  CPU). So the prompt is read piece by piece, one request for each batch of BATCH tokens (`n_predict` 0), and the reply
  is asked for when all but the last token is in the slot: after a stop no further piece is sent. This costs no
  computation: each piece continues what the one before left in the slot.
- **Other people's prompts.** By default the server chooses a slot by the likeness of its content, keeps the prompts of
  idle slots in up to 8 GiB of host memory (`cache_ram`), and restores what resembles a new prompt (llama.cpp#27148):
  of a second person's 507 tokens, the 209 that begin as the first person's were not read again, and how many are not
  tells how far two prompts agree; of a prompt that the slot's next user had overwritten, 445 of 446 came back from
  host memory. Here that memory is off, each request names its slot, and a slot that last served another conversation
  is read anew from its first token. A conversation that comes back to its slot keeps what it read.
- **Other programs.** The server listens on loopback, on any free port, and wants a key that this process makes up.
"""

import json
import os
import secrets
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import httpx

from stages.lib.chat.events import Event, Messages, Piece, PromptProgress, StreamError, check_room
from stages.lib.chat.places import Place, Places
from stages.lib.chat.reply_events import reply_events
from stages.lib.chat.sse import EventError, StatusError, post_events
from stages.lib.evaluation.systems import check_gguf
from stages.lib.llm.llama_cpp_backend import LlamaCppBackend
from stages.lib.replies.json_objects import on_one_line
from stages.lib.weights.models import ModelEntry

BATCH = 128  # tokens of a prompt that are read between two looks at `stop`: under a second on two cores at 135M


class GgufStream:
    """A running server; its chat template is the file's own."""

    exact_counts = True

    def __init__(self, model: Path | ModelEntry, max_new_tokens: int, temperature: float, seed: int) -> None:
        """Starts the server.

        Args:
            model: a file, for one person at a time, or an entry of a GGUF file, whatever backend it names.
            max_new_tokens: of a reply, at most.
            temperature: 0 is greedy.
            seed: of sampling.

        Raises:
            ValueError: it is not one whole GGUF file, or not the pinned one, or xllamacpp is not installed.
        """
        if isinstance(model, Path):
            model = ModelEntry(source=f"path:{model}", backend="llama_cpp", concurrency=1)
        self._max_new_tokens, self._thinking = max_new_tokens, model.thinking
        self._sampling = {"temperature": temperature, "seed": seed, "samplers": ["temperature"]}
        file = LlamaCppBackend(model).file
        check_gguf(file)
        key = secrets.token_urlsafe(32)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._server = _start(file, model, key)
        self._url = str(self._server.listening_address)
        # Each request has a connection of its own: the server may close one that is kept alive (seen).
        self._client = httpx.Client(
            base_url=self._url,
            headers=self._headers,
            timeout=None,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self._places = Places(model.concurrency)
        self.context = int(self.slots()[0]["n_ctx"])

    def slots(self) -> list[dict[str, Any]]:
        """What each slot of the server is at: `is_processing`, `n_prompt_tokens` and more, by llama.cpp's names."""
        return cast(list[dict[str, Any]], self._answered(self._client.get("/slots")))

    def count_tokens(self, messages: Messages) -> int:
        """Tokens of the prompt that the messages become.

        Raises:
            StreamError: the chat template refuses them.
        """
        return len(self._prompt_tokens(messages, thinking=self._thinking))

    def answer(
        self,
        messages: Messages,
        max_new_tokens: int | None = None,
        schema: dict[str, Any] | None = None,
        *,
        stop: threading.Event | None = None,
        conversation: str = "",
    ) -> Generator[Event, None, None]:
        """Answers as `Stream` says; a schema binds every token, and is not thought about before.

        Raises:
            StreamError: the conversation leaves no room for a reply, or llama.cpp refuses it.
        """
        stop = stop or threading.Event()
        limit = max_new_tokens or self._max_new_tokens
        thinking = self._thinking and schema is None
        tokens = self._prompt_tokens(messages, thinking)
        check_room(len(tokens), limit, self.context)
        yield PromptProgress(0, len(tokens))
        place = yield from self._places.take(conversation, stop)
        if place is None:
            return
        try:
            yield from self._read(tokens, place, stop)
            if stop.is_set():
                return
            body = self._sampling | {
                "messages": messages,
                "max_tokens": limit,
                "chat_template_kwargs": {"enable_thinking": thinking},
                "id_slot": place.number,
                "cache_prompt": bool(place.tokens),
                "stream_options": {"include_usage": True},
            }
            if schema is not None:  # this form alone keeps the reply on one line
                body["grammar"] = "%llguidance {}\nstart: %json " + json.dumps(on_one_line(schema))
            reply = ""
            try:
                with closing(self._stream("/v1/chat/completions", body, stop)) as chunks:
                    for event in reply_events(chunks):
                        reply += event.text if isinstance(event, Piece) else ""
                        yield event
            finally:
                place.tokens = tokens + self._left_by(reply)
        except (EventError, StatusError, httpx.TransportError) as error:
            place.tokens = []
            raise StreamError(f"llama.cpp: {error}") from error
        finally:
            self._places.give_back(place)

    def close(self) -> None:
        """Stops the server."""
        self._client.close()
        self.__dict__.pop("_server", None)

    def _read(self, tokens: list[int], place: Place, stop: threading.Event) -> Iterator[PromptProgress]:
        """Reads all but the last token into the slot, from where the slot agrees with them."""
        last = len(tokens) - 1
        done = min(_common(place.tokens, tokens), last)
        place.tokens = tokens[:done]
        if done:
            yield PromptProgress(done, len(tokens))
        while done < last and not stop.is_set():
            end = min(done + BATCH, last)
            body = {"prompt": tokens[:end], "n_predict": 0, "id_slot": place.number, "cache_prompt": done > 0}
            with closing(self._stream("/completion", body, stop)) as chunks:
                for _ in chunks:  # its one token is of no use
                    pass
            if stop.is_set():
                return
            done = end
            place.tokens = tokens[:done]
            yield PromptProgress(done, len(tokens))

    def _left_by(self, reply: str) -> list[int]:
        """Tokens that a reply leaves in the slot: its last one is not read. None where the server is gone."""
        try:
            return self._tokenize(reply)[:-1]
        except (httpx.HTTPError, RuntimeError):  # RuntimeError: this stream was closed
            return []

    def _stream(self, path: str, body: dict[str, Any], stop: threading.Event) -> Generator[dict[str, Any], None, None]:
        body = body | {"stream": True}
        return post_events(self._url + path, body, headers=self._headers, timeout=None, stop=stop)

    def _prompt_tokens(self, messages: Messages, thinking: bool) -> list[int]:
        body = {"messages": messages, "chat_template_kwargs": {"enable_thinking": thinking}}
        text = self._answered(self._client.post("/apply-template", json=body))["prompt"]
        return self._tokenize(str(text))

    def _tokenize(self, text: str) -> list[int]:
        # A chat template writes its special tokens itself.
        body = {"content": text, "add_special": False, "parse_special": True}
        return cast(list[int], self._answered(self._client.post("/tokenize", json=body))["tokens"])

    def _answered(self, response: httpx.Response) -> Any:
        if response.status_code != 200:
            raise StreamError(f"llama.cpp: status {response.status_code}: {response.text[:300]}")
        return response.json()


def _start(file: Path, entry: ModelEntry, key: str) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_parallel = entry.concurrency
    params.n_ctx = entry.context * entry.concurrency
    params.n_batch = params.n_ubatch = BATCH
    params.cache_ram_mib = 0  # no prompts in host memory
    params.cache_idle_slots = False
    params.slot_prompt_similarity = 0.0  # no slot by the likeness of its content
    params.swa_full = True  # a model with sliding windows can go back in what it read, as when a turn was edited
    params.api_keys = [key]
    # All cores, unless told otherwise: on a machine that others use, 1 thread is many times faster than 2.
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup = False
    params.verbosity = 0
    params.ui = False
    params.port = 0  # any free one, on 127.0.0.1
    return xllamacpp.Server(params)


def _common(some: list[int], others: list[int]) -> int:
    """How many tokens two lists have in common at their beginning."""
    for i, (one, other) in enumerate(zip(some, others, strict=False)):
        if one != other:
            return i
    return min(len(some), len(others))
