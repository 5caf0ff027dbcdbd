"""Passages: what is searched for, and the numbered sentences that citations are chosen from."""

import re
from dataclasses import dataclass

from stages.lib.passages.paged_document import PagedDocument, PageSpan
from stages.lib.passages.sentences import sentences
from stages.lib.splitting.splitters import split
from stages.lib.splitting.tables import Tables

_BROKEN_WORD = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_A-Z])")  # "sollic-\nitudin"


@dataclass(frozen=True)
class Passage:
    """`document.text[start:end]`; one that begins inside a table carries the table's header."""

    document: PagedDocument
    start: int
    end: int
    header: tuple[int, int] | None = None  # where in the document's text it stands

    @property
    def id(self) -> str:
        """Names document and place."""
        return f"{self.document.sha256[:12]}:{self.start}-{self.end}"

    @property
    def text(self) -> str:
        """As it stands in the document, the header of its table ahead of it."""
        first, last = self.header or (0, 0)
        return self.document.text[first:last] + self.document.text[self.start : self.end]

    @property
    def pages(self) -> list[int]:
        """Numbers of the pages that it touches."""
        return [span.page for span in self.document.page_spans(self.start, self.end)]


@dataclass(frozen=True)
class Quote:
    """A verbatim span of one page: `page.text[start:end] == text`."""

    document: PagedDocument
    span: PageSpan

    @property
    def text(self) -> str:
        """As it stands on the page."""
        return self.document.page(self.span.page).text[self.span.start : self.span.end]


def cut(document: PagedDocument, chunk_chars: int, overlap_fraction: float) -> list[Passage]:
    """The passages of a document, by the recursive splitter; none reaches into another document."""
    tables = Tables(document.text, chunk_chars)
    spans = split(document.text, "recursive", chunk_chars, overlap_fraction, tables)
    return [Passage(document, span.start, span.end, tables.header(span.start)) for span in spans]


def quotes(passage: Passage) -> list[Quote]:
    """The sentences that a passage touches, whole, page by page: a sentence that a page break parts is two."""
    found = []
    for span in passage.document.page_spans(passage.start, passage.end):
        text = passage.document.page(span.page).text
        for start, end in sentences(text):
            if start < span.end and end > span.start:
                found.append(Quote(passage.document, PageSpan(span.page, start, end)))
    return found


def readable(text: str) -> str:
    """For models and search: words that a line end broke in two are whole again, lines are joined by blanks."""
    return " ".join(_BROKEN_WORD.sub("", text).split())
