"""The chat's search and citations on real PDFs: right page, highlight, abstention and time, by search system.

Run: LLMILL_REAL_DATA=DIR python -m bench.chat [--set test] [--systems bm25 fused] [--no-time] [--file FILE]

Asks the questions of bench/chat_questions.jsonl of DIR/pdf, each of its own PDF, as `python -m app ask` does. Columns:
the page of the first citation, of any shown; intersection over union of the highlighted rectangles with those of the
words that answer (the best over the places that answer; first citation, best of those shown); how many answerable
questions are answered, and how many unanswerable ones are declined (off topic; near miss: on the document's subject,
but not told by it). Gold that is no running sentence (cells of a table, headings) also stands apart.

Times begin with an empty cache and loaded models: from file to ready, then questions one by one, then five people at
once, each with an index of their own over the largest PDF.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pymupdf  # type: ignore[import-untyped,unused-ignore]

from app.settings import open_searching
from bench.chat_questions import Question, Rectangle, gold_rectangles, load_questions
from stages.lib.answering.evidence import DocumentIndex, Evidence
from stages.lib.answering.searching import Searching
from stages.lib.passages.paged_document import PagedDocument, read_pdf
from stages.lib.passages.passages import cut, readable
from stages.lib.retrieval.systems import SYSTEMS, Choice, System
from stages.lib.retrieval.vectors import token_vectors

ASKERS = 5
# Questions whose answer stands in the cells of a table, a heading, a figure or a formula.
NO_SENTENCE = frozenset("r1-02 r1-18 r1-20 r1-25 r1-26 r1-27 r1-28 r1-29 mc-01 mc-03 mc-04 mc-05 mc-08 mc-09".split())


@dataclass(frozen=True)
class Outcome:
    """What came of one question."""

    question: Question
    answered: bool
    relevance: float
    pages: tuple[bool, ...]  # of each citation shown: a page that answers
    overlaps: tuple[float, ...]  # of each: intersection over union
    seconds: float


def union_area(rectangles: Sequence[Rectangle]) -> float:
    """The area that rectangles cover together."""
    return _covered(rectangles, rectangles)


def overlap(first: Sequence[Rectangle], second: Sequence[Rectangle]) -> float:
    """Intersection over union of what two sets of rectangles cover, 0..1."""
    if not first or not second:
        return 0.0
    common = _covered(first, second)
    return common / (union_area(first) + union_area(second) - common)


def _covered(first: Sequence[Rectangle], second: Sequence[Rectangle]) -> float:
    """The area that is covered by both sets, by the cells between all their edges."""
    xs = np.unique([x for box in (*first, *second) for x in (box[0], box[2])])
    ys = np.unique([y for box in (*first, *second) for y in (box[1], box[3])])
    sets = []
    for boxes in (first, second):
        cells = np.zeros((len(xs) - 1, len(ys) - 1), dtype=bool)
        for x0, y0, x1, y1 in boxes:
            cells[
                np.searchsorted(xs, x0) : np.searchsorted(xs, x1), np.searchsorted(ys, y0) : np.searchsorted(ys, y1)
            ] = 1
        sets.append(cells)
    areas = np.diff(xs)[:, None] * np.diff(ys)[None, :]
    return float(areas[sets[0] & sets[1]].sum())


def judge(question: Question, evidence: Evidence, gold: dict[int, list[list[Rectangle]]], quotes: int) -> Outcome:
    """Compares citations with the places that answer; `gold`: page -> the rectangles of each place on it."""
    pages, overlaps = [], []
    for ranked in evidence.quotes[:quotes]:
        span = ranked.quote.span
        places = gold.get(span.page, [])
        boxes = ranked.quote.document.rectangles(span)
        pages.append(bool(places))
        overlaps.append(max((overlap(boxes, place) for place in places), default=0.0))
    return Outcome(
        question=question,
        answered=evidence.answerable,
        relevance=evidence.relevance.passage,
        pages=tuple(pages),
        overlaps=tuple(overlaps),
        seconds=0.0,
    )


def gold_of(question: Question, file: Path) -> dict[int, list[list[Rectangle]]]:
    """Page -> the rectangles of each place on it that answers."""
    found: dict[int, list[list[Rectangle]]] = {}
    with pymupdf.open(file) as pdf:
        for place in question.places:
            found.setdefault(place.page, []).append(gold_rectangles(pdf[place.page - 1], place.runs))
    return found


def ask_all(
    questions: Sequence[Question], documents: dict[str, PagedDocument], searching: Searching, system: System, data: Path
) -> list[Outcome]:
    """Asks every question of its PDF by one system."""
    choice = Choice(system, searching.settings.embedding, "", "bench.chat")
    indexes = {
        name: DocumentIndex([document], choice, searching.settings, searching.encoders)
        for name, document in documents.items()
    }
    outcomes = []
    for question in questions:
        begin = time.perf_counter()
        evidence = indexes[question.file].find(question.question)
        seconds = time.perf_counter() - begin
        gold = gold_of(question, data / question.file)
        outcome = judge(question, evidence, gold, searching.settings.quotes)
        outcomes.append(replace(outcome, seconds=seconds))
    return outcomes


def row(name: str, outcomes: Sequence[Outcome]) -> str:
    """A line of the table."""
    answerable = [one for one in outcomes if one.question.answerable]

    def share(values: Sequence[float]) -> str:
        return f"{statistics.mean(values):.2f}" if values else "-"

    def declined(why: str) -> str:
        return share([not one.answered for one in outcomes if one.question.why == why])

    cells = [
        share([any(one.pages[:1]) for one in answerable]),
        share([any(one.pages) for one in answerable]),
        share([max(one.overlaps[:1], default=0.0) for one in answerable]),
        share([max(one.overlaps, default=0.0) for one in answerable]),
        share([one.answered for one in answerable]),
        declined("off_topic"),
        declined("near_miss"),
        f"{statistics.median(one.seconds for one in outcomes):.3f}",
        f"{max(one.seconds for one in outcomes):.3f}",
    ]
    return "| " + " | ".join([name, str(len(answerable)), *cells]) + " |"


HEAD = (
    "| system | answerable | page, first | page, any | IoU, first | IoU, best | answered | declined: off topic | "
    "near miss | s per question | worst |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def quality(outcomes: dict[System, list[Outcome]], name: str) -> list[str]:
    """The tables of one set of questions: all, then sentences and other gold apart."""
    lines = [f"\n### Questions: {name}\n", HEAD]
    chosen = {system: [one for one in found if one.question.set == name] for system, found in outcomes.items()}
    lines += [row(system, found) for system, found in chosen.items()]
    for title, inside in (("answers that are sentences", False), ("tables, headings, figures", True)):
        apart = {s: [one for one in f if (one.question.id in NO_SENTENCE) == inside] for s, f in chosen.items()}
        if all(any(one.question.answerable for one in found) for found in apart.values()):
            lines += [f"\n{name}, {title}:\n", HEAD]
            lines += [row(system, [one for one in found if one.question.answerable]) for system, found in apart.items()]
    return lines


def ready(file: Path, searching: Searching) -> dict[str, float]:
    """Seconds of each part of the way from a PDF to ready, nothing of it in a cache."""
    settings, encoders = searching.settings, searching.encoders
    parts: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        parts[name] = time.perf_counter() - begin

    with timed("reading"):
        document = read_pdf(file.name, file.read_bytes())
    with timed("cutting"):
        passages = cut(document, settings.chunk_chars, settings.overlap_fraction)
    with timed("token vectors"):
        token_vectors(passages, encoders.tokens)
    with timed("dense vectors"):
        encoders.embedder.encode_documents([readable(passage.text) for passage in passages])
    with timed("BM25 and word weights"):
        DocumentIndex([document], Choice("bm25", settings.embedding, "", ""), settings, encoders)
    return parts | {"pages": float(len(document.pages)), "passages": float(len(passages))}


def times(files: Sequence[Path], searching: Searching) -> list[str]:
    """The table of what it takes until a file can be asked."""
    searching.encoders.tokens.encode(["warm"], "document")
    searching.encoders.embedder.encode_documents(["warm"])
    found = {file.name: ready(file, searching) for file in files}
    names = [name for name in next(iter(found.values())) if name not in ("pages", "passages")]
    total = {name: sum(parts[name] for parts in found.values()) for name in (*names, "pages", "passages")}
    lines = ["\n### From file to ready (seconds, cold cache)\n"]
    lines += ["| file | pages | passages | " + " | ".join(names) + " |", "|---" * (len(names) + 3) + "|"]
    for name, parts in (found | {"all": total}).items():
        cells = [f"{parts[part]:.2f}" for part in names]
        lines.append(f"| {name} | {parts['pages']:.0f} | {parts['passages']:.0f} | " + " | ".join(cells) + " |")
    per = {name: 100 * total[name] / total["pages"] for name in names}
    lines.append("| per 100 pages | 100 | | " + " | ".join(f"{per[name]:.1f}" for name in names) + " |")
    needs: dict[System, tuple[str, ...]] = {
        "bm25": (),
        "dense": ("dense vectors",),
        "late_interaction": ("token vectors",),
        "fused": ("token vectors", "dense vectors"),
    }
    always = sum(per[name] for name in ("reading", "cutting", "BM25 and word weights"))
    ways = ", ".join(f"{system} {always + sum(per[name] for name in more):.1f}" for system, more in needs.items())
    return [*lines, f"\nSeconds per 100 pages until ready, by system: {ways}."]


def at_once(
    document: PagedDocument, questions: Sequence[Question], searching: Searching, system: System, askers: int
) -> str:
    """Seconds per question with several people at once, each with an index of their own."""
    choice = Choice(system, searching.settings.embedding, "", "bench.chat")
    indexes = [DocumentIndex([document], choice, searching.settings, searching.encoders) for _ in range(askers)]
    seconds: list[float] = []
    errors: list[str] = []
    start = threading.Barrier(askers)

    def asks(number: int) -> None:
        start.wait()
        for question in questions[number::askers]:
            begin = time.perf_counter()
            try:
                indexes[number].find(question.question)
            except Exception as error:  # told in the table: what five people at once would see
                errors.append(f"{type(error).__name__}: {error}")
            seconds.append(time.perf_counter() - begin)

    threads = [threading.Thread(target=asks, args=(number,)) for number in range(askers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    faults = f"; {len(errors)} failed: {errors[0]}" if errors else ""
    return f"| {askers} | {len(seconds)} | {statistics.median(seconds):.3f} | {max(seconds):.3f}{faults} |"


def machine() -> str:
    """The processor, its cores, whether it multiplies matrices of bfloat16 (AMX), and how busy it is."""
    import torch

    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    model = next((line.partition(":")[2].strip() for line in told.splitlines() if "model name" in line), "")
    amx = "with AMX" if torch.cpu.get_capabilities().get("amx_bf16") else "without AMX"
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    parts = (model or platform.processor(), f"{os.cpu_count()} cores", amx, f"torch threads {torch.get_num_threads()}")
    return ", ".join([*parts, load])


def main() -> None:
    """Asks, measures and prints."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.chat", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", choices=("test", "dev", "both"), default="both")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--no-time", action="store_true", help="quality alone")
    parser.add_argument("--file", type=Path, help="also write the tables there")
    options = parser.parse_args()
    if "LLMILL_REAL_DATA" not in os.environ:
        parser.error("set LLMILL_REAL_DATA to the folder that holds pdf/")
    data = Path(os.environ["LLMILL_REAL_DATA"]) / "pdf"
    names = ("test", "dev") if options.set == "both" else (options.set,)
    questions = [question for question in load_questions() if question.set in names]
    files = [data / name for name in sorted({question.file for question in questions})]
    if missing := [file.name for file in files if not file.is_file()]:
        parser.error(f"{data} lacks {', '.join(missing)}")
    lines = [f"## bench.chat\n\n{machine()}"]
    with tempfile.TemporaryDirectory() as place:
        os.environ["LLMILL_CACHE"] = place  # nothing is known before
        with open_searching(vectors=Path(place) / "vectors") as searching:
            settings = searching.settings
            lines.append(
                f"chat.chunk_chars {settings.chunk_chars}, passages {settings.passages}, quotes {settings.quotes}, "
                f"min_relevance {settings.min_relevance}"
            )
            if not options.no_time:
                lines += times(files, searching)
            documents = {file.name: read_pdf(file.name, file.read_bytes()) for file in files}
            outcomes: dict[System, list[Outcome]] = {}
            for system in options.systems:
                outcomes[system] = ask_all(questions, documents, searching, system, data)
                print(f"{system}: {len(questions)} questions", file=sys.stderr, flush=True)
            for name in names:
                lines += quality(outcomes, name)
            if not options.no_time:
                largest = max(documents.values(), key=lambda document: len(document.pages))
                own: list[Any] = [question for question in questions if question.file == largest.name]
                lines += [f"\n### People at once, {options.systems[-1]}, {largest.name}\n"]
                lines += ["| people | questions | median s | worst s |", "|---|---|---|---|"]
                lines += [at_once(largest, own[: 6 * n], searching, options.systems[-1], n) for n in (1, ASKERS)]
    text = "\n".join(lines)
    print(text)
    if options.file:
        options.file.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
