"""How much of a conversation is asked with: its latest turns, as many as the model's context and template take."""

from stages.lib.chat.events import Messages, RefusedTurnsError, Stream, StreamError


def fitting(messages: Messages, stream: Stream, reply_tokens: int) -> Messages:
    """The messages without the oldest turns, where they leave no room for the reply or the chat template refuses them.

    A system turn and the question stay.

    Args:
        messages: perhaps a system turn, then user and assistant in turn, the question last.
        stream: what will answer.
        reply_tokens: of the reply, at most.

    Raises:
        StreamError: the question alone does not fit, or the model's chat template refuses the messages.
    """
    opening = messages[:1] if messages[0]["role"] == "system" else []
    turns = messages[len(opening) :]
    room = stream.context - reply_tokens
    for start in range(0, len(turns), 2):
        kept = [*opening, *turns[start:]]
        if start + 2 < len(turns) and not accepts(stream, kept):
            continue
        if (count := stream.count_tokens(kept)) <= room:
            return kept
    if room <= 0:
        raise StreamError(
            f"the model takes {stream.context:,} tokens in all, and {reply_tokens:,} of reply leave none for a "
            "question: allow fewer (--max-new-tokens)"
        )
    raise StreamError(
        f"the question has {count:,} tokens with what stands around it; beside {reply_tokens:,} of reply there is room "
        f"for {room:,} in the model's context of {stream.context:,}: ask a shorter one, or allow a shorter reply "
        "(--max-new-tokens)"
    )


def accepts(stream: Stream, messages: Messages) -> bool:
    """Whether the model's chat template has a place for these turns: some have one for a single question."""
    try:
        stream.count_tokens(messages)
    except RefusedTurnsError:
        return False
    return True
