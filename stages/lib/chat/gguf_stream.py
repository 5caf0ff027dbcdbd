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
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx

from stages.lib.chat.events import (
    Event,
    Finished,
    Messages,
    Piece,
    PromptProgress,
    RefusedTurnsError,
    StreamError,
    check_room,
)
from stages.lib.chat.places import Place, Places
from stages.lib.chat.sse import EventError, StatusError, post_events
from stages.lib.chat.thinking_stream import ThinkingSplitter, begun, split_events
from stages.lib.conversations.turns import UnfitConversationError
from stages.lib.llm.gguf_facts import GgufFacts, read_facts
from stages.lib.llm.gguf_prompts import GgufPrompt, GgufPrompts
from stages.lib.llm.llama_cpp_backend import LlamaCppBackend, layers_on_gpu
from stages.lib.replies.json_objects import on_one_line
from stages.lib.replies.thinking import marks_in
from stages.lib.weights.models import ModelEntry

MOST_CONTEXT = 32_768  # tokens where nobody says how many: more than that takes gigabytes
BATCH = 128  # tokens of a prompt that are read between two looks at `stop`: under a second on two cores at 135M


class GgufStream:
    """A running server; its chat template is the file's own."""

    exact_counts = True

    def __init__(
        self,
        model: Path | ModelEntry,
        max_new_tokens: int,
        temperature: float,
        seed: int,
    ) -> None:
        """Starts the server.

        Args:
            model: an entry of a GGUF file, whatever backend it names; or a file, for one person at a time with the
                model's own context, up to MOST_CONTEXT. More than a model was made for is never kept.
            max_new_tokens: of a reply, at most.
            temperature: 0 is greedy.
            seed: of sampling.

        Raises:
            ValueError: it is not one whole GGUF file, or not the pinned one, it has no chat template, or xllamacpp is
                not installed.
        """
        if isinstance(model, Path):
            model = ModelEntry(source=f"path:{model}", backend="llama_cpp", concurrency=1, context=MOST_CONTEXT)
        self._max_new_tokens, self._thinking = max_new_tokens, model.thinking
        self._sampling = {"temperature": temperature, "seed": seed, "samplers": ["temperature"]}
        file = LlamaCppBackend(model).file
        self._facts = read_facts(file)
        if not self._facts.template:
            raise ValueError(
                f"{file}: no chat template, so it is a base model, or its template was lost: chat with a tuned one, or "
                "write the template of its family into a copy: python -m gguf.scripts.gguf_new_metadata "
                f"--chat-template-file chat_template.jinja {file.name} NEW.gguf"
            )
        model = replace(model, context=min(model.context, self._facts.context or model.context))
        key = secrets.token_urlsafe(32)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._server = _start(file, self._facts, model, key)
        self._url = str(self._server.listening_address)
        # Each request has a connection of its own: the server may close one that is kept alive (seen).
        self._client = httpx.Client(
            base_url=self._url,
            headers=self._headers,
            timeout=None,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self._prompts = GgufPrompts(self._facts, model.system_role, self._ask)
        self._places = Places(model.concurrency)
        self.context = int(self.slots()[0]["n_ctx"])

    def slots(self) -> list[dict[str, Any]]:
        """What each slot of the server is at: `is_processing`, `n_prompt_tokens` and more, by llama.cpp's names."""
        return cast(list[dict[str, Any]], self._ask("/slots", {}).raise_for_status().json())

    def prompt_tokens(self, messages: Messages) -> list[int]:
        """Token ids of what is read before the reply.

        Raises:
            StreamError: the chat template refuses the messages.
        """
        return self._prompt(messages, self._thinking).tokens

    def count_tokens(self, messages: Messages) -> int:
        """Tokens of the prompt that the messages become; raises as `prompt_tokens`."""
        return len(self.prompt_tokens(messages))

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
        prompt = self._prompt(messages, thinking)
        tokens, begins = prompt.tokens, begun(prompt.text, self._facts.template, thinking)
        check_room(len(tokens), limit, self.context)
        yield PromptProgress(0, len(tokens))
        place = yield from self._places.take(conversation, stop)
        if place is None:
            return
        try:
            yield from self._read(tokens, place, stop)
            if stop.is_set():
                return
            events = self._write(tokens, limit, schema, place, stop)
            with closing(split_events(events, ThinkingSplitter("plain" if schema else begins))) as told:
                yield from told
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

    def _write(
        self, tokens: list[int], limit: int, schema: dict[str, Any] | None, place: Place, stop: threading.Event
    ) -> Generator[Event, None, None]:
        """The reply as llama.cpp writes it: pieces, and its end."""
        body = self._sampling | {
            "prompt": tokens,
            "n_predict": limit,
            "id_slot": place.number,
            "cache_prompt": bool(place.tokens),
            "return_tokens": True,
            "preserved_tokens": marks_in(self._facts.template),  # else the end of thinking is ""
        }
        if schema is not None:  # this form alone keeps the reply on one line
            body["grammar"] = "%llguidance {}\nstart: %json " + json.dumps(on_one_line(schema))
        written: list[int] = []
        try:
            with closing(self._stream("/completion", body, stop)) as chunks:
                for chunk in chunks:
                    written += [] if chunk.get("stop") else chunk.get("tokens") or []
                    if chunk.get("content"):
                        yield Piece(str(chunk["content"]))
                    if chunk.get("stop"):
                        cut = chunk["stop_type"] == "limit"
                        yield Finished("length" if cut else "stop", len(tokens), int(chunk["tokens_predicted"]))
        finally:
            place.tokens = tokens + written[:-1]  # the last one is not read

    def _stream(self, path: str, body: dict[str, Any], stop: threading.Event) -> Generator[dict[str, Any], None, None]:
        body = body | {"stream": True}
        return post_events(self._url + path, body, headers=self._headers, timeout=None, stop=stop)

    def _prompt(self, messages: Messages, thinking: bool) -> GgufPrompt:
        try:
            return self._prompts.read(messages, thinking)
        except UnfitConversationError as error:
            raise RefusedTurnsError(str(error)) from error
        except ValueError as error:
            raise StreamError(str(error)) from error

    def _ask(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self._client.post(path, json=body) if body else self._client.get(path)


def _start(file: Path, facts: GgufFacts, entry: ModelEntry, key: str) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_parallel = entry.concurrency
    params.n_ctx = entry.context * entry.concurrency
    params.n_gpu_layers = layers_on_gpu(entry)
    if facts.dated_template != facts.template:
        params.chat_template = facts.dated_template
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
