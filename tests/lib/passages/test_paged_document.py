"""Spans of a document's text lead back to pages and rectangles; files that cannot be read say why."""

import pymupdf
import pytest

from stages.lib.corpus.pdf import Page
from stages.lib.passages.paged_document import PagedDocument, PageSpan, read_pdf, read_text
from stages.lib.passages.passages import cut, quotes, readable
from stages.lib.passages.stored_document import from_json, to_json
from stages.lib.reading.documents import BrokenInputError
from tests.made_pdf import lined_pdf, paragraphs_pdf

TWO = paragraphs_pdf(
    "The first sentence stands here. The second one goes on\nin another line. A third begins and",
    "ends on the next page. The last sentence is short.",
)


@pytest.fixture
def document() -> PagedDocument:
    return read_pdf("two.pdf", TWO)


def test_a_span_over_a_page_break_is_a_span_on_each_page(document: PagedDocument) -> None:
    start, end = document.text.index("A third"), document.text.index(" The last")
    spans = document.page_spans(start, end)
    assert [document.page(span.page).text[span.start : span.end] for span in spans] == [
        "A third begins and",
        "ends on the next page.",
    ]
    assert document.page_spans(start, start) == []


def test_rectangles_are_one_a_line_and_hold_the_words(document: PagedDocument) -> None:
    page = document.page(1)
    start = page.text.index("The second")
    end = page.text.index(" A third")
    boxes = document.rectangles(PageSpan(1, start, end))
    assert len(boxes) == 2
    with pymupdf.open(stream=TWO) as opened:
        words = [opened[0].get_textbox(pymupdf.Rect(box) + pymupdf.Rect(-1, -1, 1, 1)) for box in boxes]
    assert "The second one goes on" in words[0] and "in another line." in words[1]


def test_every_quote_is_verbatim_and_a_page_break_parts_it(document: PagedDocument) -> None:
    found = [quote for passage in cut(document, 100, 0.1) for quote in quotes(passage)]
    for quote in found:
        assert document.page(quote.span.page).text[quote.span.start : quote.span.end] == quote.text
    texts = {readable(quote.text) for quote in found}
    assert {"The second one goes on in another line.", "A third begins and", "ends on the next page."} <= texts


def test_a_word_that_a_line_end_broke_is_whole_and_both_its_parts_are_marked() -> None:
    document = read_pdf("a.pdf", paragraphs_pdf("We sampled from the distri-\nbution of DeepSeek-\nR1 and others."))
    (quote,) = quotes(cut(document, 200, 0.0)[0])
    assert quote.text == "We sampled from the distribution\nof DeepSeek-R1\nand others."
    assert readable(quote.text) == "We sampled from the distribution of DeepSeek-R1 and others."
    start = quote.text.index("distribution")
    first, second = document.rectangles(PageSpan(1, start, start + len("distribution")))
    assert first[1] < second[1] and first[0] > second[0]  # the end of a line, and the beginning of the next
    assert len(document.rectangles(quote.span)) == 3


def test_pages_without_text_are_named_and_the_rest_is_read() -> None:
    document = read_pdf("a.pdf", paragraphs_pdf("", "Words.", ""))
    assert document.without_text == [1, 3]
    assert document.text.strip() == "Words."
    assert document.page_spans(0, len(document.text)) == [PageSpan(2, 0, 6)]


def test_what_cannot_be_read_says_why() -> None:
    locked = paragraphs_pdf("Secret.", encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="open", owner_pw="own")
    for content, password, reason in [
        (locked, "", "encrypted_pdf"),
        (locked, "wrong", "wrong_password"),
        (b"%PDF-1.7 and nothing of the kind", "", "broken_pdf"),
        (paragraphs_pdf("", ""), "", "no_text"),
    ]:
        with pytest.raises(BrokenInputError) as caught:
            read_pdf("a.pdf", content, password)
        assert caught.value.reason == reason
    assert read_pdf("a.pdf", locked, "open").text == "Secret."
    with pytest.raises(BrokenInputError, match="invalid_utf8"):
        read_text("a.txt", b"\xff\xfe\xfa")
    with pytest.raises(BrokenInputError, match="empty"):
        read_text("a.txt", b" \n ")


def test_one_broken_page_does_not_lose_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    content = paragraphs_pdf("One.", "Two.", "Three.")
    original = pymupdf.Page.get_text

    def fails_on_two(page: pymupdf.Page, *args: object, **options: object) -> object:
        if page.number == 1:
            raise RuntimeError("code=7: syntax error")
        return original(page, *args, **options)

    monkeypatch.setattr(pymupdf.Page, "get_text", fails_on_two)
    document = read_pdf("a.pdf", content)
    assert [page.number for page in document.pages] == [1, 3]
    assert list(document.unread) == [2] and "syntax error" in document.unread[2]
    start = document.text.index("Three")
    assert document.page_spans(start, start + 5) == [PageSpan(3, 0, 5)]


def test_a_document_comes_back_from_json(document: PagedDocument) -> None:
    again = from_json(to_json(document))
    assert again.text == document.text and again.sha256 == document.sha256
    span = document.page_spans(0, 30)[0]
    assert [pytest.approx(box, abs=0.01) for box in document.rectangles(span)] == again.rectangles(span)


def test_a_text_file_is_one_page_without_boxes() -> None:
    document = read_text("a.md", "# Title\r\n\r\nA sentence. Größe zählt.".encode())
    assert document.text == "# Title\n\nA sentence. Größe zählt."
    assert isinstance(document.page(1), Page)
    assert document.rectangles(PageSpan(1, 0, 20)) == []


def test_progress_is_told_by_page() -> None:
    seen: list[int] = []
    read_pdf("a.pdf", paragraphs_pdf("a b", "c d", "e f"), on_page=seen.append)
    assert seen == [1, 2, 3]


def test_words_far_apart_in_a_line_have_rectangles_of_their_own() -> None:
    document = read_pdf("a.pdf", lined_pdf([(72, 80, "left"), (300, 80, "right")]))
    (span,) = document.page_spans(0, len(document.text))
    assert len(document.rectangles(span)) == 2
