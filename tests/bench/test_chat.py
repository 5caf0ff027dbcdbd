"""What bench.chat compares highlights by."""

import pytest

from bench.chat import Outcome, judge, overlap, row, union_area
from bench.chat_questions import Question, Rectangle
from stages.lib.answering.evidence import Evidence
from stages.lib.corpus.pdf import Page, Word
from stages.lib.passages.paged_document import PagedDocument, PageSpan
from stages.lib.passages.passages import Quote
from stages.lib.retrieval.quote_ranking import RankedQuote, Relevance

QUESTION = Question(
    id="q", set="test", file="a.pdf", question="Where?", answerable=True, kind="what", page=1, words=(0, 1), answer="a"
)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([(0, 0, 2, 1)], [(1, 0, 3, 1)], 1 / 3),
        ([(0, 0, 2, 1)], [(0, 0, 1, 1), (1, 0, 2, 1)], 1),
        ([(0, 0, 2, 2), (1, 1, 3, 3)], [(1, 1, 2, 2)], 1 / 7),  # what two rectangles share counts once
        ([(0, 0, 1, 1)], [(1, 0, 2, 1)], 0),
        ([], [(0, 0, 1, 1)], 0),
    ],
)
def test_overlap_is_intersection_over_union(first: list[Rectangle], second: list[Rectangle], expected: float) -> None:
    assert overlap(first, second) == overlap(second, first) == pytest.approx(expected)


def test_overlapping_rectangles_are_counted_once() -> None:
    assert union_area([(0, 0, 2, 2), (1, 1, 3, 3)]) == 7


def test_the_best_place_on_the_quotes_page_counts() -> None:
    words = [Word(0, 3, (0.0, 0.0, 10.0, 10.0)), Word(4, 7, (12.0, 0.0, 20.0, 10.0))]
    document = PagedDocument("a.pdf", "a" * 64, [Page(1, 100, 100, "one two", words), Page(2, 100, 100, "one", words)])
    ranked = [RankedQuote(Quote(document, PageSpan(page, 0, 3)), 1.0, 1.0) for page in (2, 1)]
    evidence = Evidence([], ranked, Relevance(0.7, 0.0, 0.0), True)
    outcome = judge(QUESTION, evidence, {1: [[(12, 0, 20, 10)], [(0, 0, 10, 20)]]}, 2)
    assert outcome.pages == (False, True) and outcome.overlaps == (0.0, 0.5)
    assert judge(QUESTION, evidence, {1: [[(0, 0, 10, 10)]]}, 1).pages == (False,)


def test_a_row_counts_answers_and_refusals_apart() -> None:
    near = Question(id="n", set="test", file="a.pdf", question="Who?", answerable=False, why="near_miss")
    off = Question(id="o", set="test", file="a.pdf", question="What?", answerable=False, why="off_topic")

    def outcome(question: Question, answered: bool, *overlaps: float) -> Outcome:
        pages = tuple(value > 0 for value in overlaps)
        return Outcome(question, answered, 0.5, pages, overlaps, 0.25)

    rows = [outcome(QUESTION, True, 0.0, 0.5), outcome(QUESTION, False, 1.0), outcome(near, True), outcome(off, False)]
    cells = [cell.strip() for cell in row("bm25", rows).strip("| ").split("|")]
    assert cells == ["bm25", "2", "0.50", "1.00", "0.50", "0.75", "0.50", "1.00", "0.00", "0.250", "0.250"]


def test_the_questions_that_are_no_sentences_are_there() -> None:
    from bench.chat import NO_SENTENCE
    from bench.chat_questions import load_questions

    assert {question.id for question in load_questions() if question.answerable} >= NO_SENTENCE
