"""What a model thinks told apart from its reply while both are being written, by the rules of replies/thinking.py.

Whatever pieces the text comes in, the reply at its end is the one that `after_thinking` finds in the whole text. Where
a mark shows only behind a piece of the reply that this was thinking still, as with a server whose template opened the
thinking, `Recalled` says so.
"""

from collections.abc import Generator, Iterator
from typing import Literal

from stages.lib.chat.events import Event, Finished, Piece, Recalled, Thought
from stages.lib.replies.thinking import (
    FINAL_CHANNEL,
    HARMONY,
    after_thinking,
    answer_so_far,
    has_closing_mark,
    opened_by,
    thought_in,
    undecided,
    without_harmony_end,
)

Begun = Literal["reply", "thinking", "final", "plain"]
MARK_ENDS = frozenset("<>[]◁▷")  # without one of these a text neither ends a mark nor begins one


def begun(prompt: str, template: str, thinking: bool) -> Begun:
    """What a reply begins with.

    Args:
        prompt: the text before the reply.
        template: the chat template that wrote it.
        thinking: whether the model may think.

    Returns:
        thinking: the prompt opened it; final: the prompt opened harmony's final channel; plain: a model that marks no
        thinking, so that a mark in its reply is the reply's own; reply: all others.
    """
    if prompt.endswith(FINAL_CHANNEL):
        return "final"
    if opened_by(prompt):
        return "thinking"
    return "reply" if thinking or has_closing_mark(template) or HARMONY[0] in template else "plain"


class ThinkingSplitter:
    """Takes a reply piece by piece and gives events."""

    def __init__(self, begins: Begun) -> None:
        self._begins = begins
        self._text = self._thought = self._answer = ""  # as it came; as it was told
        self._plainly = begins == "plain"  # what has no mark in it goes on with what was told last

    def feed(self, text: str) -> Iterator[Event]:
        """The events of a piece; none where it may be the beginning of a mark."""
        self._text += text
        if self._plainly and (self._begins == "plain" or MARK_ENDS.isdisjoint(text)):
            if self._thought and not self._answer:
                self._thought += text
                yield Thought(text)
            else:
                self._answer += text
                yield Piece(text)
            return
        kept = undecided(self._text)
        sure = self._text[: len(self._text) - kept]
        yield from self._tell(sure, self._read(sure, ended=False))
        goes_on = self._answer or ("" if has_closing_mark(sure) or self._in_words() else self._thought)
        self._plainly = not kept and goes_on != "" and sure.endswith(goes_on)

    def end(self) -> Iterator[Event]:
        """The events of what was kept back; afterwards the pieces are the reply."""
        if self._begins != "plain":
            yield from self._tell(self._text, self._read(self._text, ended=True))

    def _in_words(self) -> bool:
        """Whether words or a channel's name end the thinking, not a mark: then each piece may."""
        return self._text.lstrip().startswith(("Here is ", "Here's ", "analysis", "<|channel|>", "<|start|>"))

    def _read(self, text: str, ended: bool) -> str:
        if self._begins == "final":
            return without_harmony_end(text)
        opened = self._begins == "thinking"
        return after_thinking(text, opened) if ended else answer_so_far(text, opened)

    def _tell(self, text: str, answer: str) -> Iterator[Event]:
        if self._answer and not answer.startswith(self._answer) and answer.rstrip() != self._answer.rstrip():
            yield Recalled()
            self._thought, self._answer = self._thought + self._answer, ""
        thought = thought_in(text, answer)
        if not self._answer and thought.strip() and thought.startswith(self._thought):
            more = thought[len(self._thought) :]
            if more.strip():  # blanks come with what follows them
                self._thought = thought
                yield Thought(more)
        if more := answer[len(self._answer) :]:
            self._answer = answer
            yield Piece(more)


def split_events(events: Iterator[Event], splitter: ThinkingSplitter) -> Generator[Event, None, None]:
    """The events, with their pieces told apart."""
    for event in events:
        if isinstance(event, Piece):
            yield from splitter.feed(event.text)
            continue
        if isinstance(event, Finished):
            yield from splitter.end()
        yield event
        if isinstance(event, Finished):
            return
    yield from splitter.end()  # it was stopped
