"""The questions of bench.chat: their schema always; their words against the PDFs where those are at hand."""

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pymupdf
import pytest

from bench.chat_questions import QUESTIONS, Place, gold_rectangles, load_questions

GOOD: dict[str, Any] = {
    "id": "a-1",
    "set": "test",
    "file": "a.pdf",
    "question": "What is it?",
    "answerable": True,
    "kind": "what",
    "page": 2,
    "words": [3, 5],
    "answer": "A thing.",
}
NONE: dict[str, Any] = {"id": "a-2", "set": "dev", "file": "a.pdf", "question": "Who?", "answerable": False}
NONE |= {"why": "near_miss"}
MAX_SHARED_WORDS = 6  # a title or an enumeration that a question names; a quoted sentence is longer


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("\n".join(json.dumps(record) for record in records))
    return path


def test_there_are_as_many_questions_of_each_kind_as_the_bench_needs() -> None:
    questions = load_questions()
    counts = Counter((question.set, question.why or "answerable") for question in questions)
    assert counts["test", "answerable"] >= 45
    assert counts["test", "near_miss"] >= 15
    assert counts["test", "off_topic"] >= 10
    assert counts["dev", "answerable"] >= 20
    assert counts["dev", "near_miss"] + counts["dev", "off_topic"] >= 15
    assert sum(question.language == "de" for question in questions) >= 3
    assert len({question.file for question in questions if question.set == "test" and question.answerable}) == 4


def test_dev_and_test_ask_for_other_words() -> None:
    """A floor calibrated on dev is not measured on the same sentences."""
    words: dict[str, set[tuple[str, int, int]]] = {"dev": set(), "test": set()}
    for question in load_questions():
        for place in question.places:
            for start, stop in place.runs:
                words[question.set] |= {(question.file, place.page, i) for i in range(start, stop)}
    assert not words["dev"] & words["test"]


def test_a_place_has_one_run_or_several(tmp_path: Path) -> None:
    also = [{"page": 4, "words": [[0, 2], [5, 6]]}]
    first, second = load_questions(write(tmp_path / "q.jsonl", GOOD | {"also": also}, NONE))
    assert first.places == (Place(page=2, words=(3, 5)), Place(page=4, words=((0, 2), (5, 6))))
    assert [place.runs for place in first.places] == [((3, 5),), ((0, 2), (5, 6))]
    assert second.places == ()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (GOOD | {"id": "a-2", "pages": 3}, r"q.jsonl:3.pages: unknown key \(did you mean 'page'\?\)"),
        (GOOD | {"id": "a-2", "set": "train"}, r"q.jsonl:3.set: 'train' is not allowed"),
        (GOOD | {"id": "a-2", "page": "3"}, r"q.jsonl:3.page: expected int, found '3'"),
        (GOOD | {"id": "a-2", "page": -1}, r"q.jsonl:3: page must be >= 1"),
        (GOOD | {"id": "a-2", "words": []}, r"q.jsonl:3: an answerable question needs words"),
        (GOOD | {"id": "a-2", "words": [5, 5]}, r"q.jsonl:3: words must rise"),
        (GOOD | {"id": "a-2", "words": [[5, 7], [6, 9]]}, r"q.jsonl:3: words must rise"),
        (GOOD | {"id": "a-2", "words": [5, 6, 7]}, r"q.jsonl:3: words must be \[a, b\]"),
        (GOOD | {"id": "a-2", "also": [{"page": 1, "words": [-1, 4]}]}, r"q.jsonl:3.also\[0\]: words must rise"),
        (GOOD | {"id": "a-2", "file": "../a.pdf"}, r"q.jsonl:3: file must be a PDF's name without a folder"),
        (GOOD | {"id": "a-2", "why": "near_miss"}, r"q.jsonl:3: an answerable question has no why"),
        (NONE | {"page": 3, "words": [1, 2]}, r"q.jsonl:3: an unanswerable question has no page, words"),
        ({key: NONE[key] for key in NONE if key != "why"}, r"q.jsonl:3: an unanswerable question needs why"),
        ({key: NONE[key] for key in NONE if key != "question"}, r"q.jsonl:3: missing question"),
        (NONE | {"id": "a-1"}, r"q.jsonl:3: id 'a-1' is there twice"),
        (GOOD | {"id": "a-2", "question": "what is IT?"}, r"q.jsonl:3: asks the same as 'a-1'"),
    ],
)
def test_errors_name_file_line_and_key(tmp_path: Path, record: dict[str, Any], message: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(GOOD) + "\n\n" + json.dumps(record))
    with pytest.raises(ValueError, match=message):
        load_questions(path)


def test_gold_rectangles_join_the_words_of_a_line() -> None:
    page = pymupdf.open().new_page()
    page.insert_text((72, 72), "one two three\nfour five six")
    words = page.get_text("words")
    first, second = gold_rectangles(page, ((1, 5),))
    assert first == pytest.approx((words[1][0], words[1][1], words[2][2], words[2][3]))
    assert second == pytest.approx((words[3][0], words[3][1], words[4][2], words[4][3]))
    assert len(gold_rectangles(page, ((0, 1), (2, 3)))) == 2  # "two" stands between them
    with pytest.raises(ValueError, match=r"words 4\.\.7: page 1 has 6 words"):
        gold_rectangles(page, ((4, 7),))


def folder() -> Path:
    if "LLMILL_REAL_DATA" not in os.environ:
        pytest.skip("LLMILL_REAL_DATA, the folder of real data sets, is not set")
    return Path(os.environ["LLMILL_REAL_DATA"]) / "pdf"


def shared_run(text: str, runs: set[tuple[str, ...]], length: int) -> str | None:
    """The first run of `length` words of the text that is among `runs`."""
    words = normal(text)
    return next((" ".join(run) for run in ngrams(words, length) if run in runs), None)


def normal(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def ngrams(words: list[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]


@pytest.mark.real_data
def test_the_gold_words_are_on_their_pages() -> None:
    for question in load_questions():
        with pymupdf.open(folder() / question.file) as document:
            for place in question.places:
                assert place.page <= len(document), question.id
                rectangles = gold_rectangles(document[place.page - 1], place.runs)
                assert all(x0 < x1 and y0 < y1 for x0, y0, x1, y1 in rectangles), question.id


@pytest.mark.real_data
def test_the_questions_quote_no_sentence_of_the_pdfs() -> None:
    for file in {question.file for question in load_questions()}:
        with pymupdf.open(folder() / file) as document:
            words = normal(" ".join(page.get_text() for page in document))
        runs = set(ngrams(words, MAX_SHARED_WORDS + 1))
        quoted = {
            question.id: run
            for question in load_questions()
            for text in (question.question, question.answer or "")
            if (run := shared_run(text, runs, MAX_SHARED_WORDS + 1))
        }
        assert not quoted, (QUESTIONS.name, file, quoted)
