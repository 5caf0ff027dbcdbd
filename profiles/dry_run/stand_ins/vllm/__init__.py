"""Stands in for vllm 0.32 in a dry run: the part of its interface that stages/lib/llm/vllm_backend.py uses, on a CPU.

transformers computes, one request after the other; so models with sliding windows run as well. Names, defaults and
shapes of answers are those of vllm's own sampling_params.py, outputs.py and v1/engine/llm_engine.py.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.lib.llm.json_grammar import JsonGrammar
from stages.lib.weights.base import end_tokens
from vllm.sampling_params import SamplingParams as SamplingParams


@dataclass
class Logprob:
    """As vllm.logprobs.Logprob."""

    logprob: float


@dataclass
class CompletionOutput:
    """As vllm.outputs.CompletionOutput."""

    text: str
    token_ids: list[int]
    finish_reason: str
    logprobs: list[dict[int, Logprob]] | None


@dataclass
class RequestOutput:
    """As vllm.outputs.RequestOutput."""

    request_id: str
    prompt_token_ids: list[int]
    prompt_logprobs: list[dict[int, Logprob] | None] | None
    outputs: list[CompletionOutput]
    finished: bool = True


class LLM:
    """As vllm.LLM: opens the model of a directory."""

    def __init__(self, model: str, *, dtype: str = "auto", max_model_len: int, trust_remote_code: bool, **_: Any):
        assert not trust_remote_code
        self.llm_engine = LLMEngine(Path(model), dtype, max_model_len)


class LLMEngine:
    """As vllm's engine: requests are added, and steps answer them."""

    def __init__(self, directory: Path, dtype: str, max_model_len: int) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, use_safetensors=True).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.ends = end_tokens(self.tokenizer, self.model.generation_config)
        self.max_model_len = max_model_len
        self.waiting: deque[tuple[str, list[int], SamplingParams]] = deque()
        self.engine_core = self

    def shutdown(self) -> None:
        """Frees the weights."""
        del self.model

    def add_request(self, request_id: str, prompt: dict[str, list[int]], params: SamplingParams) -> str:
        """Queues a prompt of token ids."""
        assert isinstance(request_id, str)
        tokens = prompt["prompt_token_ids"]
        assert len(tokens) + (params.max_tokens or 0) <= self.max_model_len
        self.waiting.append((request_id, tokens, params))
        return request_id

    def has_unfinished_requests(self) -> bool:
        """Whether a request waits."""
        return bool(self.waiting)

    @torch.inference_mode()
    def step(self) -> list[RequestOutput]:
        """Answers the first request that waits."""
        request_id, prompt, params = self.waiting.popleft()
        told = None if params.prompt_logprobs is None else self._prompt_logprobs(prompt)
        return [RequestOutput(request_id, prompt, told, [self._complete(prompt, params)])]

    def _prompt_logprobs(self, prompt: list[int]) -> list[dict[int, Logprob] | None]:
        """Of each token of the prompt but the first the log-probability behind those before it."""
        logits = self.model(torch.tensor([prompt])).logits[0, :-1].float()  # (T - 1, V)
        found = logits.log_softmax(-1).gather(1, torch.tensor(prompt[1:])[:, None])[:, 0].tolist()
        return [None, *({token: Logprob(value)} for token, value in zip(prompt[1:], found, strict=True))]

    def _complete(self, prompt: list[int], params: SamplingParams) -> CompletionOutput:
        structured = params.structured_outputs
        grammar = JsonGrammar(self.tokenizer, structured.json) if structured else None
        generator = torch.Generator().manual_seed(params.seed or 0)
        tokens: list[int] = []
        named: list[dict[int, Logprob]] = []
        text, reason, cache, read = "", "length", None, prompt
        while len(tokens) < (params.max_tokens or 0):
            out = self.model(torch.tensor([read]), past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache, logits = out.past_key_values, out.logits[0, -1].float()  # (V,)
            if params.logprob_token_ids:
                values = logits.log_softmax(-1)
                named.append({token: Logprob(float(values[token])) for token in params.logprob_token_ids})
            if grammar:
                grammar.restrict(logits)
            token = _choose(logits, params, generator)
            complete = grammar.consume(token) if grammar else False
            if token in self.ends:
                reason = "stop"
                break
            tokens.append(token)
            read = [token]
            text = self._text(tokens, params)
            if complete or any(stop in text for stop in params.stop):
                reason = "stop"
                break
        for stop in params.stop:
            text = text.partition(stop)[0]
        return CompletionOutput(text, tokens, reason, named or None)

    def _text(self, tokens: Sequence[int], params: SamplingParams) -> str:
        if not params.detokenize:
            return ""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=params.skip_special_tokens))


def _choose(logits: torch.Tensor, params: SamplingParams, generator: torch.Generator) -> int:
    """The next token, of logits (V,)."""
    if params.temperature == 0:
        return int(logits.argmax())
    ranked, order = (logits / params.temperature).softmax(-1).sort(descending=True)
    kept = ranked * (ranked.cumsum(0) - ranked < params.top_p)
    return int(order[torch.multinomial(kept, 1, generator=generator)])
