"""The real page with a model that a script plays. Run: python -m tests.app.stub_page PORT FILE

Each conversation that the model is asked to go on with is added to FILE as a line of JSON. What it does depends on
words of the question: `slowly` writes for a minute, `reads` reads for a minute, `markup` replies in HTML, `reasons`
gives its reasoning first, `hesitates` thinks first (`long`: to the end), `breaks` fails.
"""

import json
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

from app.serving import PASSWORD_ENV, serve
from stages.lib.chat.events import Event, Finished, Messages, Piece, PromptProgress, StreamError, Thought

MARKUP = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script> ${window.hacked=1} {{value}}"
TOKENS = 1800


class ScriptedStream:
    """Plays a model."""

    exact_counts = True
    context = 4096

    def __init__(self, asked: Path) -> None:
        self._asked = asked

    def count_tokens(self, messages: Messages) -> int:
        return sum(len(message["content"].split()) for message in messages)

    def answer(
        self,
        messages: Messages,
        max_new_tokens: int | None = None,
        schema: dict[str, Any] | None = None,
        *,
        stop: threading.Event | None = None,
        conversation: str = "",
    ) -> Generator[Event, None, None]:
        stop = stop or threading.Event()
        with self._asked.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"messages": messages, "conversation": conversation}) + "\n")
        question = messages[-1]["content"]
        yield PromptProgress(0, TOKENS)
        for done in range(128, TOKENS, 128):
            if stop.wait(5 if "reads" in question else 0.2 if "slowly" in question else 0.02):
                return
            yield PromptProgress(done, TOKENS)
        if "breaks" in question:
            raise StreamError("the engine broke <b>down</b>")
        if "hesitates" in question:
            for piece in ("It says ", "October ", "<b>late</b>."):
                yield Thought(piece)
                if stop.wait(0.3):
                    return
            if "long" in question:
                yield Finished("length", TOKENS, 3)
                return
        reply = "The model says what it thinks."
        if "markup" in question:
            reply = MARKUP
        elif "reasons" in question:
            reply = "It stands on the page. ##### It is so."
        elif "slowly" in question:
            reply = "word " * 600
        for piece in reply.split(" "):
            if stop.wait(0.1 if "slowly" in question else 0.02):
                return
            yield Piece(piece + " ")
        yield Finished("stop", TOKENS, len(reply.split(" ")))

    def close(self) -> None:
        pass


if __name__ == "__main__":
    stream = ScriptedStream(Path(sys.argv[2]))
    serve("127.0.0.1", int(sys.argv[1]), PASSWORD_ENV, lambda name, settings: stream)
