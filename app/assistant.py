"""One question from beginning to end: search, verbatim quotes, and the model's words, told event by event."""

import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

from app.capable_model import chosen_quotes, rewritten_question
from app.settings import Searching, capable_wording
from stages.lib.answering.evidence import DocumentIndex, Evidence
from stages.lib.answering.follow_up import searched_question
from stages.lib.answering.prompting import AnswerWording, build_messages
from stages.lib.answers.reasoned_answers import written_parts
from stages.lib.chat.events import Event, Finished, Piece, PromptProgress, Queued, Recalled, Stream, Thought
from stages.lib.core.records import Message
from stages.lib.passages.passages import Quote


@dataclass
class Answer:
    """What is known of an answer so far; the page draws it anew after each change."""

    question: str
    searched: str = ""  # the question as it was searched for
    evidence: Evidence | None = None  # None: not searched yet
    citations: list[Quote] = field(default_factory=list)  # verbatim, best first
    progress: str = "searching"  # what is going on, for people; "": done
    thinking: str = ""  # what a reasoning model thought before it wrote
    reasoning: str = ""  # of the model, before #####
    text: str = ""  # of the model
    cut_off: bool = False  # at the most tokens of a reply, perhaps while it was still thinking
    lead: Literal["quotes", "model"] = "quotes"  # what stands first
    stopped: bool = False
    error: str = ""

    @property
    def answerable(self) -> bool:
        """Whether the documents are near enough to the question."""
        return self.evidence is not None and self.evidence.answerable


class Assistant:
    """Answers questions about an index by a model; without a model by quotes alone."""

    def __init__(
        self, searching: Searching, stream: Stream | None, wording: AnswerWording, lead: Literal["quotes", "model"]
    ) -> None:
        self.searching, self.stream, self.wording, self.lead = searching, stream, wording, lead
        self._capable = capable_wording() if stream and lead == "model" else None

    def index(self, documents: Sequence[Any]) -> DocumentIndex:
        """An index over documents."""
        return DocumentIndex(documents, self.searching.choice, self.searching.settings, self.searching.encoders)

    def answer(
        self,
        question: str,
        index: DocumentIndex,
        history: Sequence[Message] = (),
        *,
        documents: Sequence[str] | None = None,
        stop: threading.Event | None = None,
        conversation: str = "",
    ) -> Generator[Answer, None, None]:
        """Yields the answer each time that there is more of it; closing the generator stops the model.

        Args:
            question: as the person asked it.
            index: of the documents.
            history: earlier turns, oldest first.
            documents: sha256 of those that may be searched; None: all.
            stop: set from another thread, ends the reply.
            conversation: names it to the engine, which may keep what it read of it.
        """
        settings = self.searching.settings
        answer = Answer(question, lead=self.lead)
        yield answer
        if self.stream and self._capable:
            answer.searched = rewritten_question(question, history, self.stream, self._capable, stop)
        else:
            answer.searched = searched_question(question, history)
        answer.evidence = index.find(answer.searched, documents)
        answer.citations = [ranked.quote for ranked in answer.evidence.quotes[: settings.quotes]]
        if not answer.evidence.answerable or self.stream is None:
            answer.progress = ""
            yield answer
            return
        answer.progress = "reading"
        yield answer
        room = min(settings.context_tokens, self.stream.context) - settings.max_new_tokens
        try:
            messages = build_messages(
                question,
                [hit.passage for hit in answer.evidence.hits],
                history,
                wording=self.wording,
                count=lambda asked: self.stream.count_tokens(list(asked)) if self.stream else 0,
                room=room,
            )
            events = self.stream.answer(messages, settings.max_new_tokens, stop=stop, conversation=conversation)
            with closing(events):
                yield from self._follow(events, answer)
            if self._capable and not answer.stopped:
                answer.progress = "choosing citations"
                yield answer
                answer.citations = chosen_quotes(
                    question,
                    answer.text,
                    [ranked.quote for ranked in answer.evidence.quotes],
                    most=settings.quotes,
                    stream=self.stream,
                    wording=self._capable,
                    stop=stop,
                )
        except ValueError as error:
            answer.error = str(error)
        answer.progress = ""
        answer.stopped = answer.stopped or bool(stop and stop.is_set())
        yield answer

    def _follow(self, events: Generator[Event, None, None], answer: Answer) -> Generator[Answer, None, None]:
        reply = ""
        finished = False
        for event in events:
            match event:
                case Queued(ahead):
                    answer.progress = f"waiting for {ahead} other question{'s' * (ahead != 1)}"
                case PromptProgress(processed, total):
                    answer.progress = f"reading {processed:,} of {total:,} tokens"
                case Thought(text):
                    answer.thinking += text
                    answer.progress = "thinking"
                case Piece(text):
                    reply += text
                    answer.progress = "writing"
                case Recalled():
                    answer.thinking, reply = answer.thinking + reply, ""
                    answer.progress = "thinking"
                case Finished(reason=reason):
                    finished, answer.cut_off = True, reason == "length"
            answer.reasoning, answer.text = written_parts(reply)
            yield answer
        answer.stopped = not finished
