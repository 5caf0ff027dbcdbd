"""What a model that answers tells as it goes, and what every stream can do."""

import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Messages = list[dict[str, str]]  # {"role", "content"} turns, the last one not the assistant's


@dataclass(frozen=True)
class Queued:
    """The engine is busy with others; said again when the number changes."""

    ahead: int  # requests that wait before this one


@dataclass(frozen=True)
class PromptProgress:
    """Tokens of the prompt that are read; the first comes at once, before anything is read."""

    processed: int
    total: int


@dataclass(frozen=True)
class Thought:
    """A piece of what a reasoning model writes before its reply."""

    text: str


@dataclass(frozen=True)
class Piece:
    """A piece of the reply, never empty; the pieces joined are the reply."""

    text: str


@dataclass(frozen=True)
class Recalled:
    """The pieces so far were thinking, as a mark behind them shows: the reply begins with the next one."""


@dataclass(frozen=True)
class Finished:
    """The last event of a reply that was not stopped; the counts are 0 where a server does not tell."""

    reason: Literal["stop", "length"]  # the model ended its turn, or max_new_tokens did
    prompt_tokens: int
    completion_tokens: int


Event = Queued | PromptProgress | Thought | Piece | Recalled | Finished


class StreamError(ValueError):
    """No reply, or no more of it: why, and what to do about it."""


class RefusedTurnsError(StreamError):
    """The model's chat template has no place for these turns; it may have one for fewer."""


class Stream(Protocol):
    """What answers conversations, several people's at once."""

    exact_counts: bool  # count_tokens counts; False: it estimates

    @property
    def context(self) -> int:
        """Tokens that fit, of the prompt and the reply together."""

    def count_tokens(self, messages: Messages) -> int:
        """Tokens of the prompt that the messages become."""

    def answer(
        self,
        messages: Messages,
        max_new_tokens: int | None = None,
        schema: dict[str, Any] | None = None,
        *,
        stop: threading.Event | None = None,
        conversation: str = "",
    ) -> Generator[Event, None, None]:
        """Answers, event by event, each as soon as it happens.

        Closing the generator ends the engine's work within one batch; so does setting `stop` from another thread, which
        works while the generator waits for its next event. A reply that was stopped ends without `Finished`.

        Args:
            messages: the conversation.
            max_new_tokens: of the reply; None: the stream's own.
            schema: a JSON schema that the reply satisfies.
            stop: set it to end the reply.
            conversation: a name that no other conversation has. What an engine keeps of a prompt is used again for this
                name alone; "": never.

        Raises:
            StreamError: there is no reply, as when the conversation leaves no room for one.
            RuntimeError: the engine itself failed, as when memory ran out.
        """

    def close(self) -> None:
        """Frees what it holds."""


def check_room(prompt_tokens: int, reply_tokens: int, context: int) -> None:
    """Checks that a prompt leaves room for the reply.

    Raises:
        StreamError: it does not.
    """
    if not 0 < prompt_tokens <= context - reply_tokens:
        raise StreamError(
            f"the conversation has {prompt_tokens} tokens; beside {reply_tokens} of reply there is room for "
            f"{context - reply_tokens}: /reset begins a new one"
        )
