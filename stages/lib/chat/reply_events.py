"""From the chunks of a streamed chat completion to events."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from stages.lib.chat.events import Event, Finished, Piece, PromptProgress, Thought
from stages.lib.chat.sse import EventError
from stages.lib.llm.server_answers import ended_by


def reply_events(chunks: Iterable[dict[str, Any]]) -> Iterator[Event]:
    """The events of the chunks; `Finished` last, because the usage comes after the reply's end, or never.

    Ends without `Finished` where the chunks end before the reply does: it is for the caller to know whether it was
    stopped.

    Raises:
        EventError: the server ends the reply for another reason, or a chunk is not one of this API.
    """
    reason: Literal["stop", "length"] | None = None
    usage: dict[str, Any] = {}
    for chunk in chunks:
        try:
            usage = chunk.get("usage") or usage
            progress = chunk.get("prompt_progress")
            if progress:
                yield PromptProgress(int(progress["processed"]), int(progress["total"]))
            for choice in chunk.get("choices") or []:
                delta = choice.get("delta") or {}
                thought = delta.get("reasoning_content") or delta.get("reasoning")
                if thought:
                    yield Thought(str(thought))
                if delta.get("content"):
                    yield Piece(str(delta["content"]))
                ended = choice.get("finish_reason")
                if ended:
                    end = ended_by(ended)
                    if end in ("filter", "error"):
                        raise EventError(f"the server ended the reply with {ended!r}")
                    reason = "length" if end == "length" else "stop"
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise EventError(f"not a chunk of this API: {str(chunk)[:300]}") from error
    if reason:
        yield Finished(reason, int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
