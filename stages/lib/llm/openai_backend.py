"""The engine `openai`: any server that speaks OpenAI's HTTP API (vllm, llama.cpp, ollama, a paid one).

`source: server:NAME` is the name the server knows the model by. Where the server is and the key to it: `base_url` and
`api_key_env` (the name of a variable) of the entry, else LLMILL_OPENAI_BASE_URL (else OPENAI_BASE_URL), such as
http://127.0.0.1:8000/v1, and LLMILL_OPENAI_API_KEY (else OPENAI_API_KEY). None of them is part of the ledger's keys, so
that a server may move; two servers that call different weights by one name need a `revision` in their entries.
`extra_body` is part of them.

What the API cannot promise: a schema binds as far as the server honours `response_format`; what a server refuses is
asked otherwise (server_limits). An `answer_prefix` is sent as the beginning of the assistant's turn, with
`continue_final_message`: some servers continue it and some answer anew, whose scores fail. Scores are exact for choices
of one token among the server's 20 likeliest, an upper bound for the rest. See docs/servers.md.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from stages.lib.llm import chat_text
from stages.lib.llm.in_flight import FailureCount, answers_in_flight
from stages.lib.llm.openai_client import FIRST_WAIT, FailedError, OpenAiClient, RefusedError
from stages.lib.llm.protocol import GenerateRequest, Reply, Score, ScoreRequest
from stages.lib.llm.server_answers import choice_logprobs, count, ended_by, likeliest, no_text, text_of
from stages.lib.llm.server_limits import ServerLimits
from stages.lib.replies.thinking import visible
from stages.lib.weights.models import ModelEntry

TOP_LOGPROBS = 20  # the most that the API gives
HOPELESS = 50  # scores that fail before any is read: the server gives none
SHOWN = 10  # what one counts that shows how the server answers, not that it refuses this prompt


class OpenAiBackend:
    """One model of one server."""

    version = "openai v1"

    def __init__(self, entry: ModelEntry, first_wait: float = FIRST_WAIT) -> None:
        self.entry = entry
        self.client = OpenAiClient(entry, first_wait)
        self.limits = ServerLimits(entry.source, entry.extra_body)
        self.client.fitted = self.limits.fitted
        self._scores = ScoreHopes()

    def render(self, request: GenerateRequest | ScoreRequest) -> str:
        """The turns as JSON: the server applies its own chat template."""
        return json.dumps(self._prompt(request), ensure_ascii=False)

    def generate(
        self, requests: Sequence[GenerateRequest], missing: Sequence[int]
    ) -> Iterator[list[tuple[int, Reply]]]:
        """Replies to requests[i] for i in missing, as they come; what fails for good is a refused reply.

        Raises:
            RuntimeError: the server refuses the key or model, does not answer, or more requests fail than `max_failed`.
        """
        failures = FailureCount(self.entry.max_failed, len(requests), len(requests) - len(missing))
        return answers_in_flight(lambda i: self._counted(requests[i], failures), missing, self.entry.concurrency)

    def score(self, requests: Sequence[ScoreRequest], missing: Sequence[int]) -> Iterator[list[tuple[int, Score]]]:
        """Scores of requests[i] for i in missing, as they come; those that cannot be had are failed scores.

        Raises:
            RuntimeError: the server refuses the key or model, or does not answer.
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

    def _switches(self, request: GenerateRequest | ScoreRequest) -> dict[str, Any]:
        """What tells a server with a chat template whether to think, and to continue a turn."""
        if not request.prompt.chat:
            return {}
        thinks = chat_text.may_think(self.entry, request)
        continued = {"continue_final_message": True, "add_generation_prompt": False}
        template = {"chat_template_kwargs": {"enable_thinking": thinks}}
        return template | (continued if request.prompt.answer_prefix else {})

    def _counted(self, request: GenerateRequest, failures: FailureCount) -> Reply:
        reply = self._reply(request)
        try:
            failures.enter(reply.error)
        except RuntimeError:
            self.client.end()
            raise
        return reply

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
            choice, usage = self.limits.ask(body | self._switches(request), self.client.ask)
        except (RefusedError, FailedError) as error:
            return Reply.refused(str(error))
        message = choice["message"] if request.prompt.chat else {"content": choice["text"]}
        text = text_of(message.get("content"))
        text = visible(text, thinking=text.lstrip().startswith("<think>"))
        text = text.removeprefix(request.prompt.answer_prefix)  # of a server that repeats what it continues
        if (place := chat_text.first_stop(text, sampling.stop)) >= 0:  # of a server that does not know `stop`
            text = text[:place]
        end = ended_by(choice.get("finish_reason"))
        tokens = count(usage, "prompt_tokens")
        fault = no_text(message, text, end, choice.get("finish_reason"))
        if fault:
            return Reply.refused(fault, tokens)
        return Reply(
            text=text,
            finish_reason="length" if end == "length" else "stop",
            prompt_tokens=tokens,
            completion_tokens=count(usage, "completion_tokens"),
        )

    def _score(self, request: ScoreRequest) -> Score:
        if self._scores.lost:
            return Score.failed(f"not asked any more: {self._scores.lost}")
        chat_shape = {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        wanted = chat_shape if request.prompt.chat else {"logprobs": TOP_LOGPROBS}
        body = self._prompt(request) | {"max_tokens": 1, "temperature": 0.0} | wanted | self._switches(request)
        try:
            choice, _ = self.limits.ask(body, self.client.ask)
        except (RefusedError, FailedError) as error:
            return self._scores.failed(f"no scores: {error}", 1)
        listed = likeliest(choice)
        if not listed:
            return self._scores.failed("no scores: the server gives no log-probabilities", SHOWN)
        logprobs = choice_logprobs(listed, request.choices)
        if logprobs is None:
            first = sorted(listed, key=listed.__getitem__, reverse=True)[:5]
            does = "does not continue the turn" if request.prompt.answer_prefix else "answers otherwise"
            return self._scores.failed(
                f"no scores of {request.choices}: the server {does}, likeliest are {first}", SHOWN
            )
        self._scores.read()
        return Score(logprobs=logprobs, tokens=(1,) * len(request.choices))


class ScoreHopes:
    """Whether a server gives scores at all: not, where several fail before the first is read. Any number of threads."""

    def __init__(self) -> None:
        self.lost = ""  # why the server gives none
        self._failed = 0  # -1: one was read
        self._lock = threading.Lock()

    def read(self) -> None:
        """A score was read."""
        self._failed = -1

    def failed(self, error: str, weight: int) -> Score:
        """The failed score, counted as so many."""
        with self._lock:
            if self._failed >= 0:
                self._failed += weight
                if self._failed >= HOPELESS:
                    self.lost = error
        return Score.failed(error)
