"""Replies that come piece by piece, from a transformers model or from llama.cpp."""

import json
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx

from stages.lib.evaluation.systems import check_gguf
from stages.lib.llm.chat_text import prompt_tokens
from stages.lib.llm.llama_cpp_backend import LlamaCppBackend
from stages.lib.weights.base import end_tokens
from stages.lib.weights.models import ModelEntry, size_in

Messages = list[dict[str, str]]


class TransformersStream:
    """A loaded model and its tokenizer; generation runs in a thread of its own, which stops with the generator."""

    def __init__(self, model: Any, tokenizer: Any, max_new_tokens: int, temperature: float, seed: int) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._max_new_tokens, self._temperature = max_new_tokens, temperature
        self._limit = size_in(model.config, "max_position_embeddings", model.name_or_path)
        import torch

        torch.manual_seed(seed)

    def answer(self, messages: Messages) -> Generator[str, None, None]:
        """The pieces of the reply.

        Raises:
            ValueError: the conversation leaves no room for a reply.
            RuntimeError: generation failed.
        """
        import torch
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        prompt = prompt_tokens(self._tokenizer, messages)
        if len(prompt) + self._max_new_tokens > self._limit:
            raise ValueError(
                f"the conversation has {len(prompt)} tokens; beside {self._max_new_tokens} of reply there is room for "
                f"{self._limit - self._max_new_tokens}: /reset begins a new one"
            )
        ids = torch.tensor([prompt], device=self._model.device)
        ends = sorted(end_tokens(self._tokenizer, self._model.generation_config))
        streamer = TextIteratorStreamer(
            self._tokenizer, skip_prompt=True, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        stopped = threading.Event()
        failures: list[BaseException] = []

        def stop(input_ids: Any, scores: Any, **_: Any) -> Any:
            return torch.full((input_ids.shape[0],), stopped.is_set(), device=input_ids.device)

        sampling: dict[str, Any] = {"do_sample": False}
        if self._temperature:
            sampling = {"do_sample": True, "temperature": self._temperature, "top_k": 0, "top_p": 1.0}

        def run() -> None:
            try:
                with torch.inference_mode():
                    self._model.generate(
                        input_ids=ids,
                        attention_mask=torch.ones_like(ids),
                        max_new_tokens=self._max_new_tokens,
                        eos_token_id=ends,
                        pad_token_id=ends[0],
                        streamer=streamer,
                        stopping_criteria=StoppingCriteriaList([stop]),
                        **sampling,
                    )
            except BaseException as error:  # a thread's exception would be lost
                failures.append(error)
                streamer.end()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield from filter(None, streamer)
        finally:
            stopped.set()
            thread.join()
        if failures:
            raise RuntimeError(f"generation failed: {failures[0]}") from failures[0]

    def close(self) -> None:
        """Nothing is held."""


class GgufStream:
    """A GGUF file in llama.cpp's server in this process; its chat template is the file's own."""

    def __init__(self, file: Path, max_new_tokens: int, temperature: float, seed: int) -> None:
        check_gguf(file)
        self._backend = LlamaCppBackend(ModelEntry(source=f"path:{file}", backend="llama_cpp", concurrency=1))
        self._options = {
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            "seed": seed,
            "samplers": ["temperature"],
            "cache_prompt": True,  # the turns before are not computed again
            "stream": True,
        }

    def answer(self, messages: Messages) -> Generator[str, None, None]:
        """The pieces of the reply.

        Raises:
            ValueError: llama.cpp refuses the conversation, as when it is too long.
        """
        body = self._options | {"messages": messages}
        # A connection of its own: the server may close one that is kept alive after a streamed reply (seen).
        url = f"{self._backend.server.listening_address}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, timeout=None) as response:
            if response.status_code != 200:
                response.read()
                raise ValueError(f"llama.cpp: status {response.status_code}: {response.text[:300]}")
            for line in response.iter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                event = json.loads(line[len("data: ") :])
                if "error" in event:
                    raise ValueError(f"llama.cpp: {event['error']}")
                piece = event["choices"][0]["delta"].get("content") if event["choices"] else None
                if piece:
                    yield piece

    def close(self) -> None:
        """Stops the server."""
        self._backend.close()
