"""A GGUF file in llama.cpp's server inside this process (xllamacpp): its tokens, its template, its greedy replies."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import httpx

from stages.lib.core.progress import doing
from stages.lib.core.records import Message
from stages.lib.weights.gguf_header import read_gguf_header

ALL_LAYERS = 999  # more than any model has


@dataclass(frozen=True)
class GreedyReply:
    """The end token, where the reply ends with one, is among its tokens."""

    tokens: list[int]
    logprobs: list[float]  # empty where the server leaves some out, as it does for parts of a character
    ended: bool  # at an end-of-generation token, not at the limit


def check_installed() -> None:
    """Raises `ValueError` where the runtime is missing."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise ValueError("the release gate runs the file in llama.cpp: `pip install xllamacpp` (extra llm-bin)")


class LlamaRuntime:
    """One file; use it in a `with` block, after which the server is gone."""

    def __init__(self, file: Path, context: int, threads: int = 1, gpu_layers: int = 0) -> None:
        """How the file is run.

        Args:
            file: of one model.
            context: tokens of prompt and reply together.
            threads: 1 where others use the machine, too.
            gpu_layers: how many layers a GPU computes, where llama.cpp is built for one; -1: all.
        """
        self.file, self.context, self.threads, self.gpu_layers = file, context, threads, gpu_layers

    def __enter__(self) -> Self:
        """Starts the server, on a free port of 127.0.0.1.

        Raises:
            ValueError: xllamacpp is not installed, or llama.cpp cannot load the file.
        """
        check_installed()
        try:
            self.server = self._start()
        except RuntimeError as error:
            raise ValueError(f"{self.file}: llama.cpp cannot load it: {self._why(error)}") from error
        self.client = httpx.Client(base_url=self.server.listening_address, timeout=None)
        return self

    @doing("loading the file into llama.cpp")
    def _start(self) -> Any:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(self.file)
        params.n_parallel = 1
        params.n_ctx = self.context
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self.threads
        params.warmup = False
        params.verbosity = 0
        params.ui = False
        params.port = 0
        params.n_gpu_layers = ALL_LAYERS if self.gpu_layers < 0 else self.gpu_layers
        return xllamacpp.Server(params)

    def _why(self, error: RuntimeError) -> str:
        """llama.cpp's words, which tell little, and what else can be told."""
        try:
            read_gguf_header(self.file)
        except ValueError:
            return str(error)
        return (
            f"{error} The file is whole. Most likely llama.cpp's own Jinja does not know a word of the chat template "
            "(`llama-server --jinja` on the file prints the place): put a simpler one into the model's "
            "chat_template.jinja before training"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the server."""
        self.client.close()
        del self.server

    def render(self, messages: list[Message]) -> str | None:
        """The prompt by the chat template in the file; None: the template refuses these messages."""
        answer = self.client.post("/apply-template", json={"messages": messages})
        return str(answer.json()["prompt"]) if answer.status_code == 200 else None

    def tokens(self, text: str, special: bool = True) -> list[int]:
        """A text's tokens as the server reads a prompt; `special`: with BOS where the file asks for it."""
        body = {"content": text, "add_special": special, "parse_special": True}
        return cast(list[int], self._post("/tokenize", body)["tokens"])

    def greedy(self, prompt: list[int], max_tokens: int) -> GreedyReply:
        """The most likely reply."""
        body = {
            "prompt": prompt,
            "n_predict": max_tokens,
            "temperature": 0.0,
            "samplers": ["temperature"],
            "n_probs": 1,
            "cache_prompt": False,
            "return_tokens": True,
        }
        answer = self._post("/completion", body)
        steps = answer["completion_probabilities"]
        tokens = [int(token) for token in answer["tokens"]]
        whole = [int(step["id"]) for step in steps] == tokens
        logprobs = [float(step["logprob"]) for step in steps] if whole else []
        return GreedyReply(tokens, logprobs, ended=answer["stop_type"] == "eos")

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.client.post(path, json=body)
        if answer.status_code != 200:
            raise RuntimeError(f"llama.cpp{path}: status {answer.status_code}: {answer.text[:300]}")
        return cast(dict[str, Any], answer.json())
