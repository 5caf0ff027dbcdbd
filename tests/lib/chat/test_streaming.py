"""A transformers model's events: what is read, stopping at any moment, schemas, one person at a time."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.lib.chat.events import Event, Finished, Messages, Piece, PromptProgress, Queued, StreamError
from stages.lib.chat.streaming import BATCH, TransformersStream
from stages.lib.replying.conversation_replies import generate_replies

LONG: Messages = [{"role": "user", "content": "the question about apples and oranges " * 40}]
SHORT: Messages = [{"role": "user", "content": "the question about apples and oranges"}]


def load(directory: Path) -> tuple[Any, Any]:
    """Model and tokenizer."""
    return AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)


def text_of(events: list[Event]) -> str:
    """The reply."""
    return "".join(event.text for event in events if isinstance(event, Piece))


def test_the_prompt_is_read_in_batches_and_the_reply_is_the_same(tiny_directory: Path) -> None:
    model, tokenizer = load(tiny_directory)
    stream = TransformersStream(model, tokenizer, max_new_tokens=20, temperature=0.0, seed=0)
    events = list(stream.answer(LONG))
    total = stream.count_tokens(LONG)
    assert total > 2 * BATCH
    progress = [event for event in events if isinstance(event, PromptProgress)]
    assert [event.processed for event in progress] == [0, *range(BATCH, total - 1, BATCH), total - 1]
    assert {event.total for event in progress} == {total}
    whole = generate_replies(model, tokenizer, [LONG], max_new_tokens=20, temperature=0.0, seed=0, batch_size=1)[0]
    assert text_of(events).strip() == whole.text.strip()
    assert events[-1] == Finished("stop" if whole.finished else "length", total, whole.tokens)


def test_stop_while_the_prompt_is_read_computes_no_further_batch(tiny_directory: Path) -> None:
    model, tokenizer = load(tiny_directory)
    stop, read = threading.Event(), []

    def count(_: Any, __: Any, keywords: dict[str, Any], *___: Any) -> None:
        read.append(keywords["input_ids"].shape[1])
        stop.set()  # as a person does while the first batch is computed

    model.register_forward_hook(count, with_kwargs=True)
    stream = TransformersStream(model, tokenizer, max_new_tokens=20, temperature=0.0, seed=0)
    events = list(stream.answer(LONG, stop=stop))
    assert read == [BATCH]
    assert not [event for event in events if isinstance(event, Piece | Finished)]
    assert text_of(list(stream.answer(SHORT)))  # the next one is served


def test_stop_while_it_writes_ends_the_reply_without_finished(tiny_directory: Path) -> None:
    stop = threading.Event()
    stream = TransformersStream(*load(tiny_directory), max_new_tokens=400, temperature=1.0, seed=0)
    events: list[Event] = []
    for event in stream.answer(SHORT, stop=stop):
        events.append(event)
        if isinstance(event, Piece):
            stop.set()
    assert not isinstance(events[-1], Finished)


def test_a_second_person_waits_for_the_first(tiny_directory: Path) -> None:
    stream = TransformersStream(*load(tiny_directory), max_new_tokens=8, temperature=0.0, seed=0)
    first, second = stream.answer(LONG), stream.answer(SHORT)
    next(first), next(first)
    assert [next(second), next(second)] == [PromptProgress(0, stream.count_tokens(SHORT)), Queued(0)]
    first.close()
    assert isinstance(list(second)[-1], Finished)


def test_a_reply_satisfies_its_schema(tiny_directory: Path) -> None:
    pytest.importorskip("llguidance")
    stream = TransformersStream(*load(tiny_directory), max_new_tokens=60, temperature=0.0, seed=0)
    schema = {
        "type": "object",
        "properties": {"n": {"enum": [1, 2, 3]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    events = list(stream.answer(SHORT, schema=schema))
    assert json.loads(text_of(events))["n"] in (1, 2, 3)
    assert isinstance(events[-1], Finished) and events[-1].reason == "stop"


def test_a_conversation_without_room_is_refused_before_anything_is_read(tiny_directory: Path) -> None:
    stream = TransformersStream(*load(tiny_directory), max_new_tokens=20, temperature=0.0, seed=0)
    room = stream.context - stream.count_tokens(LONG)
    assert isinstance(list(stream.answer(LONG, max_new_tokens=room))[-1], Finished)
    with pytest.raises(StreamError, match=f"beside {room + 1} of reply there is room for"):
        next(stream.answer(LONG, max_new_tokens=room + 1))
