"""What is asked of a language model and what it answers: generate many, score given choices.

Stages use `Prompt`, `GenerateRequest`, `ScoreRequest` and `asking.open_model`; a backend is any
class with the four members of `Backend`. Everything here is plain frozen data, so that equal
requests are equal and a request can be a key of the ledger.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from stages.lib.weights.models import ModelEntry


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What the model reads before it answers."""

    text: str  # the user's turn, or the raw text to continue
    system: str = ""  # the system turn; empty: the chat template's own
    chat: bool = True  # False: no chat template, the model continues `text` as it stands
    answer_prefix: str = ""  # the forced beginning of the reply
    frame: tuple[str, str] = ("", "")  # around `text` without a template: markup counts there, elsewhere it is text


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a reply is drawn."""

    max_tokens: int = 256  # of the reply, >= 1
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0  # share of the probability mass that is sampled from, (0, 1]
    seed: int = 0  # of this request alone, whatever it is batched with
    stop: tuple[str, ...] = ()  # the reply ends before the first of these

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.max_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1 or "" in self.stop:
            raise ValueError(f"{self}: needs max_tokens >= 1, temperature >= 0, 0 < top_p <= 1, no empty stop")


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """Asks for a reply."""

    prompt: Prompt
    sampling: Sampling = field(default_factory=Sampling)
    schema: dict[str, Any] | None = None  # JSON schema of answer_prefix + reply; see each backend for how far it binds
    # Whether the asker can read a reply; one that it cannot is returned, but not kept in the ledger. None: any text.
    readable: "Callable[[Reply], bool] | None" = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Checks that schema and answer_prefix do not meet."""
        if self.schema is not None and self.prompt.answer_prefix:
            raise ValueError("a request has a schema or an answer_prefix, not both")


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    """Asks for log p(choice | prompt) of each choice.

    Prompt and choice are tokenized apart and joined, so that all choices follow the very same
    tokens: begin a choice with the blank that belongs to it (" Paris", "1").
    """

    prompt: Prompt
    choices: tuple[str, ...]

    def __post_init__(self) -> None:
        """Checks that there is something to score."""
        if not self.choices or "" in self.choices:
            raise ValueError(f"a ScoreRequest needs choices, none of them empty; found {self.choices!r}")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A generated reply."""

    text: str  # without the prompt's answer_prefix, stop string and the model's thinking
    finish_reason: Literal["stop", "length", "error"]
    prompt_tokens: int
    completion_tokens: int
    error: str = ""  # why there is no reply; such a reply is not kept in the ledger

    @classmethod
    def refused(cls, error: str, prompt_tokens: int = 0) -> "Reply":
        """No reply, and why."""
        return cls(text="", finish_reason="error", prompt_tokens=prompt_tokens, completion_tokens=0, error=error)


@dataclass(frozen=True, kw_only=True)
class Score:
    """Log-probabilities of a request's choices, in the request's order; none where the request failed."""

    logprobs: tuple[float, ...]  # sum over the choice's tokens, nats
    tokens: tuple[int, ...]  # tokens of each choice
    error: str = ""  # why there are none; such a score is not kept in the ledger

    @classmethod
    def failed(cls, error: str) -> "Score":
        """No log-probabilities, and why."""
        return cls(logprobs=(), tokens=(), error=error)

    @property
    def per_token(self) -> float | None:
        """Log-probability of a token of the first choice, on average, nats; None where the request failed."""
        return None if self.error else self.logprobs[0] / self.tokens[0]


@dataclass(frozen=True)
class Plan:
    """How the requests of a call are computed: in pieces that know nothing of each other, here or elsewhere."""

    refused: list[tuple[int, Any]]  # positions of requests that need no model, with their answers
    pieces: list[list[int]]  # positions that are computed together
    shared: int = 0  # tokens that all prompts of the call begin with
    threads: int = 1  # of a piece, on a CPU


class LanguageModel(Protocol):
    """What stages see; answers come in the order of the requests."""

    @property
    def entry(self) -> ModelEntry:
        """The model's entry in params.yaml."""

    def generate(self, requests: Sequence[GenerateRequest], progress: str | None = None) -> list[Reply]:
        """Replies to the requests; `progress` names the progress bar."""

    def score(self, requests: Sequence[ScoreRequest], progress: str | None = None) -> list[Score]:
        """Log-probabilities of the requests' choices."""


class Backend(Protocol):
    """One engine. It is cheap to construct: weights load at the first request that it must answer.

    `generate` and `score` get the full list of requests and the positions of the missing ones:
    they plan their batches over the full list and compute the missing ones, so that a resumed
    run computes in the batches of an uninterrupted one. Each list that they yield is one
    batch of (position, answer), kept before the next one is asked for.
    """

    @property
    def version(self) -> str:
        """Engine and version, such as `transformers 5.17.0`: part of every ledger key."""

    def render(self, request: GenerateRequest | ScoreRequest) -> str:
        """The text that the model reads, chat template applied: part of the ledger key."""

    def generate(
        self, requests: Sequence[GenerateRequest], missing: Sequence[int]
    ) -> Iterator[list[tuple[int, Reply]]]:
        """Replies to requests[i] for i in missing, batch by batch."""

    def score(self, requests: Sequence[ScoreRequest], missing: Sequence[int]) -> Iterator[list[tuple[int, Score]]]:
        """Scores of requests[i] for i in missing, batch by batch."""

    def close(self) -> None:
        """Frees what the backend holds."""


@runtime_checkable
class DivisibleBackend(Backend, Protocol):
    """A backend that plans its batches apart from computing them, so that another process may take some of them.

    A piece has the same bits wherever it is computed.
    """

    def plan(
        self, requests: Sequence[GenerateRequest] | Sequence[ScoreRequest], missing: Sequence[int], *, on_cpu: bool
    ) -> Plan:
        """The plan of a call; `on_cpu`: the models that compute it are on CPUs."""

    def compute(
        self, requests: Sequence[GenerateRequest] | Sequence[ScoreRequest], shared: int, threads: int
    ) -> Sequence[Reply | Score]:
        """The answers to the requests of one piece, with the two numbers of its plan."""
