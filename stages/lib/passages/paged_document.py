"""A document as it was read, page by page; every span of its text leads back to pages and rectangles."""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from stages.lib.corpus.pdf import Box, Page, open_pdf, read_pages
from stages.lib.reading.documents import BrokenInputError, decode_utf8

PAGE_BREAK = "\n\n"  # between the texts of two pages in the text of a document
SEEN_AT_ONCE = 1.0  # heights of a line up to which two words of a line share a rectangle


class PageSpan(NamedTuple):
    """`page.text[start:end]` of the page of that number."""

    page: int  # from 1
    start: int
    end: int


@dataclass(frozen=True)
class PagedDocument:
    """The pages of a PDF; a text file is one page without boxes."""

    name: str  # as the user called it; never a path
    sha256: str  # of the file's bytes
    pages: list[Page]
    unread: dict[int, str] = field(default_factory=dict)  # number of a page that could not be read -> why

    @cached_property
    def text(self) -> str:
        """All pages, `PAGE_BREAK` between them."""
        return PAGE_BREAK.join(page.text for page in self.pages)

    @cached_property
    def starts(self) -> list[int]:
        """Where each page begins in `text`."""
        starts, size = [], 0
        for page in self.pages:
            starts.append(size)
            size += len(page.text) + len(PAGE_BREAK)
        return starts

    @property
    def without_text(self) -> list[int]:
        """Numbers of the pages with nothing to read (scans)."""
        return [page.number for page in self.pages if not page.text]

    def page(self, number: int) -> Page:
        """The page of that number.

        Raises:
            KeyError: no such page, or one that could not be read.
        """
        for page in self.pages:
            if page.number == number:
                return page
        raise KeyError(f"{self.name}: no page {number}")

    def page_spans(self, start: int, end: int) -> list[PageSpan]:
        """Where `text[start:end]` stands: a span on each page that it touches, the page break left out."""
        found = []
        for place in range(max(0, bisect_right(self.starts, start) - 1), len(self.pages)):
            page, begin = self.pages[place], self.starts[place]
            if begin >= end:
                break
            low, high = max(start - begin, 0), min(end - begin, len(page.text))
            if low < high:
                found.append(PageSpan(page.number, low, high))
        return found

    def rectangles(self, span: PageSpan) -> list[Box]:
        """The boxes of the words of a span, one for each run of words beside each other; none for a text file."""
        boxes: list[Box] = []
        for word in self.page(span.page).words:
            if word.end <= span.start or word.start >= span.end:
                continue
            left, top, right, bottom = word.box
            if boxes:
                before = boxes[-1]
                height = max(before[3] - before[1], 1e-6)
                level = abs((before[1] + before[3]) - (top + bottom)) / 2 < height / 2
                if level and -height < left - before[2] < SEEN_AT_ONCE * height:
                    boxes[-1] = (
                        min(before[0], left),
                        min(before[1], top),
                        max(before[2], right),
                        max(before[3], bottom),
                    )
                    continue
            boxes.append((left, top, right, bottom))
        return boxes


def content_sha256(content: bytes) -> str:
    """What a document is known by: the same bytes under another name are the same document."""
    return hashlib.sha256(content).hexdigest()


def page_count(content: bytes, password: str = "") -> int:
    """Pages of a PDF.

    Raises:
        BrokenInputError: as `open_pdf`.
    """
    with open_pdf(content, password) as document:
        return len(document)


def read_pdf(
    name: str, content: bytes, password: str = "", on_page: Callable[[int], object] = lambda _: None
) -> PagedDocument:
    """Reads a PDF; `on_page` is told the number of each page as it is done.

    Raises:
        BrokenInputError: as `open_pdf`; reason `no_text` where no page holds any (a scan).
    """
    pages: list[Page] = []
    unread: dict[int, str] = {}
    for number, page in enumerate(read_pages(content, password, on_page), start=1):
        if isinstance(page, Page):
            pages.append(page)
        else:
            unread[number] = page.detail
    if not any(page.text for page in pages):
        detail = f"none of its {len(pages) + len(unread)} pages holds text; scans need OCR first, as by `ocrmypdf`"
        raise BrokenInputError("no_text", detail)
    return PagedDocument(name, content_sha256(content), pages, unread)


def read_text(name: str, content: bytes) -> PagedDocument:
    """Reads a txt or md file as one page.

    Raises:
        BrokenInputError: `invalid_utf8`, or `empty`.
    """
    text = decode_utf8(content).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise BrokenInputError("empty", "it holds nothing but white space")
    return PagedDocument(name, content_sha256(content), [Page(1, 0.0, 0.0, text, [])])


def pages_of(document: PagedDocument, start: int, end: int) -> Iterator[int]:
    """Numbers of the pages that a span touches."""
    for span in document.page_spans(start, end):
        yield span.page
