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
from collections.abc import Iterator, Sequence
from typing import Any, Literal, cast

from stages.lib.llm import chat_text
from stages.lib.llm.in_flight import answers_in_flight
from stages.lib.llm.openai_client import FIRST_WAIT, OpenAiClient, RefusedError
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.weights.models import ModelEntry

TOP_LOGPROBS = 20  # the most that the API gives


class OpenAiBackend:
    """One model of one server."""

    version = "openai v1"

    def __init__(self, entry: ModelEntry, first_wait: float = FIRST_WAIT) -> None:
        self.entry = entry
        self.client = OpenAiClient(entry, first_wait)

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
            choice, usage = self.client.ask(body)
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
            choice, _ = self.client.ask(self._prompt(request) | {"max_tokens": 1, "temperature": 0.0} | wanted)
        except RefusedError as error:
            raise ValueError(f"{self.client.base_url}: cannot score {request.choices}: {error}") from error
        likeliest = _likeliest(choice)
        if not likeliest:
            raise ValueError(f"{self.client.base_url}: cannot score: the server gives no log-probabilities")
        if not any(option in likeliest for option in request.choices):
            raise ValueError(
                f"{self.client.base_url}: cannot score {request.choices}: the server's likeliest tokens are "
                f"{sorted(likeliest, key=likeliest.__getitem__, reverse=True)}; it can score choices of one token"
            )
        # A token that is not listed has at most the probability of the last listed, and at most what the others leave.
        left = 1.0 - math.fsum(math.exp(logprob) for logprob in likeliest.values())
        bound = min(*likeliest.values(), math.log(max(left, 1e-12)))
        logprobs = tuple(round(likeliest.get(option, bound), 5) for option in request.choices)
        return Score(logprobs=logprobs, tokens=(1,) * len(request.choices))


def _likeliest(choice: dict[str, Any]) -> dict[str, float]:
    """Token -> log-probability of the first position of an answer, in either of the API's two shapes."""
    logprobs = choice.get("logprobs") or {}
    if "content" in logprobs:
        listed = (logprobs["content"] or [{}])[0].get("top_logprobs") or []
        return {entry["token"]: float(entry["logprob"]) for entry in reversed(listed)}
    first: dict[str, float] = (logprobs.get("top_logprobs") or [{}])[0]
    return first
