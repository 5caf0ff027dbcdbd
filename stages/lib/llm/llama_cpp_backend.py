"""The engine `llama_cpp`: a GGUF file in llama.cpp's own server, inside this process (xllamacpp).

The server computes `concurrency` requests at once, `context` tokens each, and keeps what it read
of a prompt for the next one with the same beginning. Where that is one at a time, each prompt is read
from its beginning: how much of it was read before decides what is computed together, and with it the
last bits, so that a reply would hang on the requests before it (2 of 10 held-out replies did). And
where no GPU computes, two servers of the same file then share the requests and the cores
(OMP_NUM_THREADS, or all). llama.cpp's threads wait for each other many times a token, spinning: six
conversations on two cores with twelve other busy processes took one server of two threads over
200 s, these two 29 to 44.

A schema binds every token (llguidance, as in the transformers backend). Scores are exact for
choices of any length: each token of a choice is forced in turn (logit_bias) and its probability
read before the bias, one small request per token. What llama.cpp computes together depends on
timing, so that replies may differ between runs where two tokens are almost equally likely; the
ledger keeps the first.
"""

import importlib.metadata
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx

from stages.lib.core.progress import doing
from stages.lib.llm import chat_text
from stages.lib.llm.gguf_facts import GgufFacts, read_facts
from stages.lib.llm.gguf_prompts import Ask, GgufPrompt, GgufPrompts
from stages.lib.llm.in_flight import answers_in_flight
from stages.lib.llm.protocol import GenerateRequest, Prompt, Reply, Score, ScoreRequest
from stages.lib.replies.json_objects import on_one_line
from stages.lib.replies.thinking import marks_in, visible
from stages.lib.weights.models import ModelEntry, locate

ALL_LAYERS = 999  # more than any model has
FORCED = 1000.0  # added to a logit: above any that a model gives
A = TypeVar("A")
DIGITS = 5  # of a log-probability, after the point


class LlamaCppBackend:
    """One GGUF model; its server starts when it is first needed, which the chat template already does."""

    def __init__(self, entry: ModelEntry) -> None:
        self.entry = entry
        self._read: dict[tuple[Prompt, bool], GgufPrompt] = {}  # for the key, and again to be asked
        try:
            self.version = f"llama_cpp xllamacpp {importlib.metadata.version('xllamacpp')}"
        except importlib.metadata.PackageNotFoundError as error:
            raise ValueError(f"{entry.source}: backend llama_cpp needs `pip install xllamacpp`") from error

    @cached_property
    def file(self) -> Path:
        """The GGUF file; its sha256 is checked here.

        Raises:
            ValueError: the source is not one GGUF file, or not the pinned one.
        """
        place = locate(self.entry)
        files = sorted(place.glob("*.gguf")) if place.is_dir() else [place]
        if len(files) != 1 or files[0].suffix != ".gguf":
            raise ValueError(f"{self.entry.source}: backend llama_cpp needs one .gguf file, found {files}")
        return files[0]

    @cached_property
    def facts(self) -> GgufFacts:
        """What the file says of itself."""
        return read_facts(self.file)

    @cached_property
    def prompts(self) -> GgufPrompts:
        """How conversations become tokens."""
        return GgufPrompts(self.facts, self.entry.system_role, self._ask)

    @cached_property
    @doing("loading the model into llama.cpp")
    def server(self) -> Any:
        """The first server in this process, which this starts.

        Raises:
            RuntimeError: llama.cpp cannot load the file.
        """
        return self._start()

    def _start(self) -> Any:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(self.file)
        params.n_parallel = self.entry.concurrency
        params.n_ctx = self.entry.context * self.entry.concurrency
        params.n_gpu_layers = layers_on_gpu(self.entry)
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, _threads() // self._count)
        if self.facts.dated_template != self.facts.template:
            params.chat_template = self.facts.dated_template
        params.warmup = False
        params.verbosity = 0
        params.ui = False
        params.port = 0  # any free one, on 127.0.0.1
        return xllamacpp.Server(params)

    @cached_property
    def _count(self) -> int:
        """How many servers share the requests."""
        return 2 if self.entry.concurrency == 1 and not (self.entry.gpu_layers and _has_gpu()) else 1

    @cached_property
    def client(self) -> httpx.Client:
        """The connection to the first server."""
        return self._connect(self.server)

    @cached_property
    def _others(self) -> list[tuple[Any, httpx.Client]]:
        """The other servers and the connections to them; they start when there are requests to be shared."""
        servers = [self._start() for _ in range(self._count - 1)]
        return [(server, self._connect(server)) for server in servers]

    @cached_property
    def _locks(self) -> list[threading.Lock]:
        """One a server: one request at a time, in their order."""
        return [threading.Lock() for _ in range(self._count)]

    def _connect(self, server: Any) -> httpx.Client:
        limits = httpx.Limits(max_connections=self.entry.concurrency + self._count - 1)  # tokens are asked of the first
        return httpx.Client(base_url=server.listening_address, timeout=None, limits=limits)

    @property
    def template(self) -> str:
        """The chat template in the GGUF file; empty if there is none."""
        return self.facts.template

    def render(self, request: GenerateRequest | ScoreRequest) -> str:
        """The text that the model reads, by the chat template in the GGUF file, and what of it is no markup."""
        return self._prompt(request).key if request.prompt.chat else chat_text.plain(request.prompt)

    def generate(
        self, requests: Sequence[GenerateRequest], missing: Sequence[int]
    ) -> Iterator[list[tuple[int, Reply]]]:
        """Replies to requests[i] for i in missing, as they come."""
        return self._shared(lambda i, ask: self._reply(requests[i], ask), missing)

    def score(self, requests: Sequence[ScoreRequest], missing: Sequence[int]) -> Iterator[list[tuple[int, Score]]]:
        """Scores of requests[i] for i in missing, as they come; those that do not fit are failed scores."""
        return self._shared(lambda i, ask: self._score(requests[i], ask), missing)

    def close(self) -> None:
        """Stops the servers."""
        for _, client in self.__dict__.pop("_others", []):
            client.close()
        if "client" in self.__dict__:
            self.__dict__.pop("client").close()
        self.__dict__.pop("server", None)

    def _shared(self, answer: Callable[[int, Ask], A], missing: Sequence[int]) -> Iterator[list[tuple[int, A]]]:
        """answer(i, what asks the server of i) for each i."""
        if self._count == 1 or len(missing) == 1:
            return answers_in_flight(lambda i: answer(i, self._ask), missing, self.entry.concurrency)
        clients = [self.client, *(client for _, client in self._others)]

        def on_its_server(i: int) -> A:
            place = i % len(clients)
            with self._locks[place]:
                return answer(i, lambda path, body: _asked(clients[place], path, body))

        return answers_in_flight(on_its_server, missing, len(clients))

    def _prompt(self, request: GenerateRequest | ScoreRequest) -> GgufPrompt:
        prompt, thinking = request.prompt, chat_text.may_think(self.entry, request)
        if (prompt, thinking) not in self._read:
            turns = chat_text.messages(prompt)
            self._read[prompt, thinking] = self.prompts.read(turns, thinking, prompt.answer_prefix)
        return self._read[prompt, thinking]

    def _reply(self, request: GenerateRequest, ask: Ask) -> Reply:
        sampling = request.sampling
        tokens = self._tokens(request)
        room = self.entry.context - sampling.max_tokens
        if not 0 < len(tokens) <= room:
            error = f"{len(tokens)} tokens of prompt: beside {sampling.max_tokens} of reply there is room for {room}"
            return Reply.refused(error, len(tokens))
        body: dict[str, Any] = {
            "prompt": tokens,
            "n_predict": sampling.max_tokens,
            "temperature": sampling.temperature,
            "samplers": ["top_p", "temperature"],  # none of llama.cpp's own defaults
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            "stop": list(sampling.stop),
            "cache_prompt": self.entry.concurrency > 1,
            "preserved_tokens": marks_in(self.template)
            if request.prompt.chat
            else [],  # else the end of thinking is ""
        }
        if request.schema is not None:
            body["json_schema"] = on_one_line(request.schema)
        answer = _found(ask, "/completion", body)
        return Reply(
            text=visible(
                str(answer["content"]),
                chat_text.may_think(self.entry, request),
                self.template if request.prompt.chat else "",
            ),
            finish_reason="length" if answer["stop_type"] == "limit" else "stop",
            prompt_tokens=len(tokens),
            completion_tokens=int(answer["tokens_predicted"]),
        )

    def _score(self, request: ScoreRequest, ask: Ask) -> Score:
        prompt = self._tokens(request)
        choices = [self._encode(choice, special=False) for choice in request.choices]
        longest = len(prompt) + max(map(len, choices))
        if not prompt or longest > self.entry.context:
            size = f"{longest} tokens with the longest choice, {len(prompt)} of them the prompt"
            return Score.failed(f"{size}: `context` is {self.entry.context}")
        logprobs = []
        for choice in choices:
            steps = [_logprob(ask, [*prompt, *choice[:k]], token) for k, token in enumerate(choice)]
            logprobs.append(round(sum(steps), DIGITS))
        return Score(logprobs=tuple(logprobs), tokens=tuple(map(len, choices)))

    def _encode(self, text: str, special: bool) -> list[int]:
        body = {"content": text, "add_special": special, "parse_special": True}
        return cast(list[int], _found(self._ask, "/tokenize", body)["tokens"])

    def _tokens(self, request: GenerateRequest | ScoreRequest) -> list[int]:
        if request.prompt.chat:
            return self._prompt(request).tokens
        return self._encode(self.render(request), special=True)

    def _ask(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return _asked(self.client, path, body)


def _asked(client: httpx.Client, path: str, body: dict[str, Any]) -> httpx.Response:
    return client.post(path, json=body) if body else client.get(path)


def _found(ask: Ask, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = ask(path, body)
    if response.status_code != 200:
        raise RuntimeError(f"llama.cpp{path}: status {response.status_code}: {response.text[:300]}")
    return cast(dict[str, Any], response.json())


def _logprob(ask: Ask, tokens: list[int], following: int) -> float:
    body = {
        "prompt": tokens,
        "n_predict": 1,
        "temperature": 0.0,
        "logit_bias": [[following, FORCED]],
        "n_probs": 1,
        "cache_prompt": True,
    }
    found = _found(ask, "/completion", body)["completion_probabilities"][0]
    assert found["id"] == following, (found, following)
    return float(found["logprob"])


def layers_on_gpu(entry: ModelEntry) -> int:
    """How many layers llama.cpp is told to compute on a GPU; none where it was built without."""
    return ALL_LAYERS if entry.gpu_layers < 0 else entry.gpu_layers


def _has_gpu() -> bool:
    """Whether this llama.cpp knows of a device beside the CPU."""
    import xllamacpp

    cpu = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
    return any(device["type"] != cpu for device in xllamacpp.get_device_info())


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
