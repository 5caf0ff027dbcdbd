"""Questions that a person types or pastes into a terminal, or pipes in."""

import select
import sys
from collections.abc import Iterator
from typing import TextIO

MARK = "> "
HELP = "/reset begins a new conversation, /quit ends; Ctrl-C ends a reply"
AT_ONCE = 0.05  # seconds within which the further lines of a paste come; nobody types that fast


def read_questions(source: TextIO, out: TextIO, paragraphs: bool = False) -> Iterator[str]:
    """Questions of a terminal behind a mark, or of a pipe, echoed so that the dialogue can be read.

    What is pasted into a terminal is one question, however many lines it has. Of a pipe each line is one, with
    `paragraphs` each stretch of lines without a blank one between.
    """
    if source.isatty():
        yield from _typed(source, out)
        return
    for question in _paragraphs(source) if paragraphs else source:
        print(f"{MARK}{question.rstrip()}", file=out, flush=True)
        yield question


def _typed(source: TextIO, out: TextIO) -> Iterator[str]:
    import readline  # arrow keys and history

    # The terminal says where a paste begins and ends, so that its line ends do not end the question: Enter does.
    readline.parse_and_bind("set enable-bracketed-paste on")
    readline.parse_and_bind("tab: self-insert")  # a pasted tab completes nothing
    while True:
        try:
            lines = [input(MARK)]
            # A terminal that does not say it sends a paste's lines at once.
            while source is sys.stdin and select.select([source], [], [], AT_ONCE)[0]:
                lines.append(input())
        except KeyboardInterrupt:
            print(f"\n({HELP})", file=out)
            continue
        except EOFError:
            print(file=out)
            return
        yield "\n".join(lines)


def _paragraphs(source: TextIO) -> Iterator[str]:
    lines: list[str] = []
    for line in source:
        if line.strip():
            lines.append(line)
        elif lines:
            yield "".join(lines)
            lines = []
    if lines:
        yield "".join(lines)
