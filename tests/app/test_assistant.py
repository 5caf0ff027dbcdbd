"""One question from beginning to end, with the real search and a scripted model."""

import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.answer_json import answer_json
from app.assistant import Answer, Assistant
from app.conversations import Conversation, rated_records
from app.settings import Searching, open_searching, wording
from stages.lib.chat.events import Event, Finished, Piece, PromptProgress, Recalled, StreamError, Thought
from stages.lib.core.records import Message
from stages.lib.passages.paged_document import read_text
from tests.graph import ROOT

DOCUMENT = read_text(
    "mill.txt", b"The mill was built by Ann in 1801. It grinds barley for the village. The bell is old."
)
HISTORY: list[Message] = [
    {"role": "user", "content": "Who built the mill?"},
    {"role": "assistant", "content": "Ann."},
]


class Scripted:
    """Gives its replies in turn."""

    exact_counts, context = True, 2048

    def __init__(self, *replies: Any) -> None:
        self.replies: list[Any] = list(replies)
        self.prompts: list[Any] = []

    def count_tokens(self, messages: Any) -> int:
        return sum(len(message["content"].split()) for message in messages)

    def answer(
        self,
        messages: Any,
        max_new_tokens: int | None = None,
        schema: dict[str, Any] | None = None,
        *,
        stop: threading.Event | None = None,
        conversation: str = "",
    ) -> Generator[Event, None, None]:
        self.prompts.append(messages)
        reply = self.replies.pop(0)
        if reply == "refused":
            raise StreamError("the conversation has 9 tokens too many")
        yield PromptProgress(0, 10)
        for piece in (reply[:4], reply[4:]):
            if stop and stop.is_set():
                return
            yield Piece(piece)
        yield Finished("stop", 1, 1)

    def close(self) -> None:
        pass


class Thinking(Scripted):
    """Thinks before it answers; a reply is what happens."""

    def answer(self, messages: Any, *_: Any, **__: Any) -> Generator[Event, None, None]:
        self.prompts.append(messages)
        yield from self.replies.pop(0)


@pytest.fixture
def searching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Searching]:
    for name in ("params.yaml", "prompts.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    with open_searching() as opened:
        yield opened


def ask(searching: Searching, stream: Any, lead: Any, question: str, **options: Any) -> list[Answer]:
    assistant = Assistant(searching, stream, wording(reasoning=True), lead)
    seen = []
    for answer in assistant.answer(question, assistant.index([DOCUMENT]), **options):
        seen.append(Answer(**vars(answer)))
    return seen


def test_the_quotes_are_there_before_the_model_and_its_reasoning_is_apart(searching: Searching) -> None:
    stream = Scripted("The text tells of Ann. ##### By Ann.")
    seen = ask(searching, stream, "quotes", "Who built the mill?")
    first = next(answer for answer in seen if answer.citations)
    assert (first.text, first.citations[0].text) == ("", "The mill was built by Ann in 1801.")
    assert (seen[-1].reasoning, seen[-1].text, seen[-1].progress) == ("The text tells of Ann.", "By Ann.", "")
    assert "reading 0 of 10 tokens" in [answer.progress for answer in seen]
    assert len(stream.prompts) == 1


def test_a_model_that_leads_rewrites_the_follow_up_and_chooses_what_is_cited(searching: Searching) -> None:
    stream = Scripted("What does Ann's mill grind?", "Barley.", '{"sentences": [2]}')
    seen = ask(searching, stream, "model", "And what does it do?", history=HISTORY)
    assert seen[-1].searched == "What does Ann's mill grind?"
    assert len(seen[-1].citations) == 1
    ranked = seen[-1].evidence.quotes if seen[-1].evidence else []
    assert seen[-1].citations[0] == ranked[1].quote
    assert [message["role"] for message in stream.prompts[1]] == ["system", "user", "assistant", "user"]


def test_a_small_model_is_asked_for_neither(searching: Searching) -> None:
    stream = Scripted("Barley.")
    seen = ask(searching, stream, "quotes", "And what does it do?", history=HISTORY)
    assert seen[-1].searched == "Who built the mill? And what does it do?"
    assert len(stream.prompts) == 1


def test_nothing_is_asked_of_a_model_where_the_documents_do_not_tell(searching: Searching) -> None:
    stream = Scripted()
    seen = ask(searching, stream, "quotes", "Which actor stars in the newest superhero film?")
    assert not seen[-1].answerable and seen[-1].citations and stream.prompts == []


def test_a_refusal_is_told_and_the_quotes_stay(searching: Searching) -> None:
    seen = ask(searching, Scripted("refused"), "quotes", "Who built the mill?")
    assert seen[-1].error == "the conversation has 9 tokens too many"
    assert seen[-1].citations and seen[-1].progress == ""


def test_a_stopped_answer_says_so(searching: Searching) -> None:
    stop = threading.Event()
    assistant = Assistant(searching, Scripted("Barley and more."), wording(reasoning=False), "quotes")
    answer = Answer("")
    for answer in assistant.answer("What does the mill grind?", assistant.index([DOCUMENT]), stop=stop):
        if answer.text:
            stop.set()
    assert answer.stopped and answer.text == "Barl"


@pytest.mark.parametrize(
    "events",
    [
        [Thought("Ann, "), Thought("it says"), Piece("By Ann."), Finished("stop", 1, 1)],
        [Piece("Ann, it says"), Recalled(), Piece("By Ann."), Finished("stop", 1, 1)],
    ],
)
def test_thinking_is_no_part_of_the_answer(searching: Searching, events: list[Event]) -> None:
    seen = ask(searching, Thinking(events), "quotes", "Who built the mill?")
    last = seen[-1]
    assert (last.thinking, last.reasoning, last.text, last.cut_off) == ("Ann, it says", "", "By Ann.", False)
    assert last.citations[0].text == "The mill was built by Ann in 1801."
    assert "thinking" in [answer.progress for answer in seen]
    found = answer_json(last)
    assert (found["thinking"], found["answer"]) == ("Ann, it says", "By Ann.")
    kept = Conversation("00000001-0000000000000000", [found | {"rating": "up"}])
    assert [turn["content"] for turn in kept.history] == ["Who built the mill?", "By Ann."]
    record = rated_records([kept])[0]
    assert (record["answer"], record["reasoning"]) == ("By Ann.", "") and "Ann, it says" not in str(record)


def test_a_reply_cut_off_in_its_thinking_is_no_answer_and_chooses_nothing(searching: Searching) -> None:
    stream = Thinking([Thought("Ann "), Finished("length", 1, 1)])
    last = ask(searching, stream, "model", "Who built the mill?")[-1]
    assert (last.text, last.thinking, last.cut_off, last.stopped) == ("", "Ann ", True, False)
    assert last.citations and len(stream.prompts) == 1  # the quotes stand, and no words are supported by any
    assert Conversation("00000001-0000000000000000", [answer_json(last)]).history[1]["content"].startswith("The mill")


def test_a_follow_up_is_rewritten_without_what_was_thought(searching: Searching) -> None:
    rewriting: list[Event] = [Piece("hm\nhm"), Recalled(), Piece("What does Ann's mill grind?"), Finished("stop", 1, 1)]
    answering: list[Event] = [Piece("Barley."), Finished("stop", 1, 1)]
    choosing: list[Event] = [Piece('{"sentences": [2]}'), Finished("stop", 1, 1)]
    seen = ask(searching, Thinking(rewriting, answering, choosing), "model", "And what does it do?", history=HISTORY)
    assert seen[-1].searched == "What does Ann's mill grind?" and len(seen[-1].citations) == 1
