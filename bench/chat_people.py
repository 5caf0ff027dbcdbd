"""How soon people see something when they ask at once: quotes, tokens read, the first written word, the whole answer.

LLMILL_REAL_DATA=... python -m bench.chat_people [--people 1 5] [--questions 3] [--model NAME] [--file FILE]

Each person asks questions on DeepSeek_R1.pdf in a conversation of their own, through what the page calls
(app.assistant); the page itself adds its drawing. Cores are shared by all: medians and the worst are told.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from app.assistant import Assistant
from app.models import choices, leading, open_choice
from app.settings import open_searching, wording
from bench.chat import machine
from bench.chat_questions import load_questions
from stages.lib.answering.evidence import DocumentIndex
from stages.lib.passages.paged_document import read_pdf

FILE = "DeepSeek_R1.pdf"
SIGNS = ("something", "quotes", "tokens read", "first word", "whole answer")


def ask(assistant: Assistant, index: DocumentIndex, question: str, name: str) -> dict[str, float]:
    """Seconds until each sign of one answer."""
    begin = time.perf_counter()
    seen: dict[str, float] = {}
    for answer in assistant.answer(question, index, conversation=name):
        signs = {
            "something": True,
            "quotes": bool(answer.citations),
            "tokens read": answer.progress.startswith("reading "),
            "first word": bool(answer.text or answer.reasoning),
        }
        for sign, there in signs.items():
            if there:
                seen.setdefault(sign, time.perf_counter() - begin)
        if answer.error:
            raise RuntimeError(answer.error)
    return seen | {"whole answer": time.perf_counter() - begin}


def ask_at_once(assistant: Assistant, content: bytes, questions: Sequence[str], people: int) -> list[dict[str, float]]:
    """What each of the people sees of each of their questions."""
    indexes = [assistant.index([read_pdf(FILE, content)]) for _ in range(people)]
    start = threading.Barrier(people)
    found: list[dict[str, float]] = []
    faults: list[BaseException] = []

    def asks(number: int) -> None:
        try:
            start.wait()
            for place in range(number, len(questions), people):
                found.append(ask(assistant, indexes[number], questions[place], f"person {number}"))
        except BaseException as error:  # a thread's exception would be lost
            faults.append(error)

    threads = [threading.Thread(target=asks, args=(number,)) for number in range(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return found


def table(people: int, found: Sequence[dict[str, float]]) -> list[str]:
    """A row per sign."""
    lines = []
    for sign in SIGNS:
        seconds = [one[sign] for one in found if sign in one]
        if seconds:
            lines.append(
                f"| {people} | {sign} | {len(seconds)} | {statistics.median(seconds):.2f} | {max(seconds):.2f} |"
            )
    return lines


def main() -> None:
    """Asks, measures and prints."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.chat_people", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--questions", type=int, default=2, help="of each person")
    parser.add_argument("--model", default="", help="released, a name under models:; default: as the page")
    parser.add_argument("--file", type=Path, help="also write the table there")
    options = parser.parse_args()
    if "LLMILL_REAL_DATA" not in os.environ:
        parser.error("set LLMILL_REAL_DATA to the folder that holds pdf/")
    content = (Path(os.environ["LLMILL_REAL_DATA"]) / "pdf" / FILE).read_bytes()
    answerable = [one.question for one in load_questions() if one.file == FILE and one.answerable]
    lines = [
        f"## bench.chat_people\n\n{machine()}\n",
        "| people | seconds to | answers | median | worst |",
        "|---" * 5 + "|",
    ]
    with tempfile.TemporaryDirectory() as place, open_searching(Path(place)) as searching:
        name = options.model or choices()[0].name
        stream = open_choice(name, searching.settings)
        assistant = Assistant(
            searching, stream, wording(searching.settings.reasoning), leading(searching.settings, name)
        )
        ask(assistant, assistant.index([read_pdf(FILE, content)]), answerable[-1], "warm")
        for people in options.people:
            found = ask_at_once(assistant, content, answerable[: people * options.questions], people)
            lines += table(people, found)
        if stream:
            stream.close()
    text = "\n".join(lines) + "\n"
    print(text)
    if options.file:
        options.file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
