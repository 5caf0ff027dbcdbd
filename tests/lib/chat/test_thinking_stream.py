"""A reply in pieces becomes thoughts and the reply that the whole text has, wherever it is cut."""

import random
from collections.abc import Iterator

import pytest

from stages.lib.chat.events import Event, Finished, Piece, Recalled, Thought
from stages.lib.chat.thinking_stream import Begun, ThinkingSplitter, begun, split_events
from stages.lib.replies.thinking import FINAL_CHANNEL, MARKS, after_thinking

HARMONY = "<|channel|>analysis<|message|>We need 42.<|end|><|start|>assistant<|channel|>final<|message|>It is 42."
THOUGHT = {  # a reply -> what it begins with
    "<think>\nhm, 7 < 8\n</think>\n\nIt is [42].": "reply",
    "hm\n</think>\n\nIt is **42** <b>.": "thinking",
    "<think>a</think><think>b</think>c": "reply",
    "<think>never done, it is": "reply",
    "never done either [": "thinking",
    "": "thinking",
    "No thinking at all: a < b, x[1] and {}.": "reply",
    '{"answer": "The </think> tag ends it."}': "reply",
    'hm {"answer": 1}\n</think>\n{"answer": "</think>"}': "thinking",
    "The tag `</think>` ends it.": "reply",
    "hm `</think>` hm\n</think>\n42": "thinking",
    "<think>\nhm\n</think>\n<answer>\n42 and more\n</answer>": "reply",
    "<answer>42</answer>": "reply",
    "思考中……\n</think>\n\n答案是四十二。": "thinking",
    HARMONY: "reply",
    HARMONY + "<|return|>": "reply",
    HARMONY + "<|end|><|start|>user<|message|>more": "reply",
    "<|channel|>analysis<|message|>We need": "reply",
    "<|channel|>commentary<|message|>plan<|end|>" + HARMONY: "reply",
    "analysisWe need 42.assistantfinal42": "reply",
    "Here is my thought process: hm\n\nHere is my response: 42": "reply",
    "Here is my answer: 42": "reply",
    "analysis of variance": "reply",
}
TEXTS = THOUGHT | {f"{opening}\nhm\n{closing}\n\n42 is it": "reply" for opening, closing in MARKS}
TEXTS |= {f"hm\n{closing}\n\n42 is it": "thinking" for _, closing in MARKS}


def pieces_of(text: str, seed: int) -> Iterator[str]:
    """The text in pieces of 1 to 9 characters; seed 0: one by one."""
    drawn = random.Random(seed)
    while text:
        size = drawn.randint(1, 9) if seed else 1
        yield text[:size]
        text = text[size:]


def told(pieces: Iterator[str], begins: Begun) -> tuple[str, str, list[Event]]:
    """What was thought and what is the reply at the end, and all events."""
    splitter = ThinkingSplitter(begins)
    events = [*(event for piece in pieces for event in splitter.feed(piece)), *splitter.end()]
    thought = reply = ""
    for event in events:
        match event:
            case Thought(text):
                thought += text
            case Piece(text):
                reply += text
            case Recalled():
                thought, reply = thought + reply, ""
    return thought, reply, events


@pytest.mark.parametrize(("text", "begins"), TEXTS.items())
@pytest.mark.parametrize("seed", range(6))
def test_the_reply_is_the_one_of_the_whole_text(text: str, begins: Begun, seed: int) -> None:
    thought, reply, _ = told(pieces_of(text, seed), begins)
    answer = after_thinking(text, opened=begins == "thinking")
    assert reply.rstrip() == answer.rstrip()
    assert not any(mark in thought for pair in MARKS for mark in pair if f"`{mark}`" not in text)
    assert "<|" not in thought
    if not answer:
        assert thought.strip() or not text


@pytest.mark.parametrize("seed", range(4))
def test_a_thought_is_told_while_it_is_thought_and_a_reply_while_it_is_written(seed: int) -> None:
    for text in (f"<think>\n{'so ' * 40}</think>\n\n{'it is ' * 40}", HARMONY.replace("We need", "We need " * 30)):
        _, _, events = told(pieces_of(text, seed), "reply")
        kinds = [type(event) for event in events]
        assert kinds == sorted(kinds, key=lambda kind: kind is Piece)  # thoughts, then the reply, nothing recalled
        assert kinds.count(Thought) > 5
    assert kinds.count(Piece) > 0


def test_thinking_that_only_its_end_marks_is_recalled() -> None:
    thought, reply, events = told(pieces_of("It may be 42.\n</think>\n\n42", 0), "reply")
    assert (thought.strip(), reply) == ("It may be 42.", "42")
    assert events.count(Recalled()) == 1
    assert Piece("I") in events  # it was shown as it came


def test_what_a_reply_begins_with() -> None:
    qwen, closed = "<|im_start|>assistant\n", "<think>\n\n</think>\n\n"
    template = "{{ '<think>' }}...{{ content.split('</think>') }}"
    assert begun(qwen + "<think>\n", template, True) == begun(qwen + "<think>\n", template, False) == "thinking"
    assert begun(qwen + closed, template, False) == "reply"
    assert begun(qwen, template, True) == begun(qwen, "{{ messages }}", True) == "reply"
    assert begun(qwen, "{{ messages }}", False) == "plain"
    assert begun("<|start|>assistant", "<|channel|>", True) == "reply"
    assert begun("<|start|>assistant" + FINAL_CHANNEL, "<|channel|>", False) == "final"
    assert told(pieces_of("The </think> tag ends it.", 0), "plain")[1] == "The </think> tag ends it."
    assert told(pieces_of("42<|end|><|start|>user", 3), "final")[:2] == ("", "42")


def test_a_long_reply_costs_no_more_than_its_pieces() -> None:
    """Each piece looks at itself alone: 60,000 of them are no work of minutes."""
    splitter = ThinkingSplitter("thinking")
    pieces = ["so it "] * 30_000 + ["</think>"] + ["is it "] * 30_000
    assert sum(1 for piece in pieces for _ in splitter.feed(piece)) == 60_000


def test_other_events_keep_their_place_and_what_was_kept_back_comes_before_the_end() -> None:
    end = Finished("stop", 3, 4)
    found = list(split_events(iter([Piece("a "), Piece("<"), end]), ThinkingSplitter("reply")))
    assert found == [Piece("a "), Piece("<"), end]
    assert list(
        split_events(
            iter(
                [
                    Piece("a ["),
                ]
            ),
            ThinkingSplitter("reply"),
        )
    ) == [Piece("a "), Piece("[")]
