"""The pages of PDF files by PyMuPDF: their text in reading order, and the box of every word of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stages.lib.corpus.reading_order import Line, in_reading_order
from stages.lib.reading.documents import BrokenInputError

Box = tuple[float, float, float, float]  # left, top, right, bottom in points (1/72 inch) from the page's top left


class Word(NamedTuple):
    """`page.text[start:end]` and where it stands on the page as it is shown."""

    start: int
    end: int
    box: Box


@dataclass(frozen=True)
class Page:
    """One page; a scan has no words and the text ""."""

    number: int  # from 1, as viewers count
    width: float  # points
    height: float
    text: str  # lines end with \\n, paragraphs (blocks) and columns with a blank line
    words: list[Word]  # in the order of the text; visible text is in exactly one of them


def open_pdf(source: Path | bytes, password: str = "") -> Any:
    """The document of PyMuPDF; damaged files that MuPDF can repair are opened. To be closed by the caller.

    Raises:
        BrokenInputError: reason `encrypted_pdf` (a password is needed), `wrong_password` or `broken_pdf` (also: not a
            PDF, no bytes, no pages).
    """
    import pymupdf  # over a second, which sources without PDFs need not wait

    pymupdf.TOOLS.mupdf_display_errors(False)  # they come as exceptions
    pymupdf.TOOLS.mupdf_display_warnings(False)
    try:
        if isinstance(source, bytes):
            document = pymupdf.open(stream=source, filetype="pdf")
        else:
            document = pymupdf.open(source, filetype="pdf")
    except (RuntimeError, ValueError) as error:  # FileDataError and MuPDF's own are RuntimeErrors
        raise BrokenInputError("broken_pdf", str(error)) from error
    fault = None
    if document.needs_pass and not password:
        fault = BrokenInputError("encrypted_pdf", "a password is needed")
    elif document.needs_pass and not document.authenticate(password):
        fault = BrokenInputError("wrong_password", "the password does not open it")
    elif not len(document):
        fault = BrokenInputError("broken_pdf", "it has no pages")
    if fault:
        document.close()
        raise fault
    return document


def read_pages(source: Path | bytes, password: str = "") -> Iterator[Page | BrokenInputError]:
    """Yields each page in turn; in the place of a page that MuPDF cannot read, why (the others are still read).

    Raises:
        BrokenInputError: as `open_pdf`.
    """
    with open_pdf(source, password) as document:
        for number in range(1, len(document) + 1):
            try:
                page = document[number - 1]
                words = page.get_text("words", sort=False)
                yield _page(number, page, words)
            except (RuntimeError, ValueError) as error:
                yield BrokenInputError("broken_page", f"page {number}: {error}")


def pdf_pages(path: Path) -> Iterator[str]:
    """Yields the text of each page that can be read; pages without text (scans) are empty strings.

    Raises:
        BrokenInputError: as `open_pdf`; reason `broken_pdf` where no page can be read.
    """
    broken: BrokenInputError | None = None
    whole = 0
    for page in read_pages(path):
        if isinstance(page, Page):
            whole += 1
            yield page.text
        else:
            broken = page
    if broken and not whole:
        raise BrokenInputError("broken_pdf", broken.detail) from broken


def pdf_text(path: Path, max_chars: int) -> str:
    """All pages, a blank line between them.

    Raises:
        BrokenInputError: as `pdf_pages`; reason `too_long` as soon as there are more than `max_chars` characters.
    """
    pages: list[str] = []
    size = 0
    for page in pdf_pages(path):
        pages.append(page)
        size += len(page) + 2
        if size - 2 > max_chars:
            raise BrokenInputError("too_long", f"over {max_chars} characters on the first {len(pages)} pages")
    return "\n\n".join(page for page in pages if page)


def _page(number: int, page: Any, words: list[tuple[Any, ...]]) -> Page:
    """Lines of PyMuPDF's words, put into reading order and joined."""
    lines: list[Line] = []
    for x0, y0, x1, y1, text, block, line, _ in words:
        visible = text.strip()
        if not visible:
            continue
        if not lines or not lines[-1].goes_on((block, line), (x0, y0, x1, y1)):
            lines.append(Line(place=(block, line)))
        lines[-1].add(visible, (x0, y0, x1, y1))
    pieces: list[str] = []
    placed: list[Word] = []
    size = 0
    before: Line | None = None
    for current in in_reading_order(lines):
        if before is not None:
            between = "\n" if current.follows(before) else "\n\n"
            pieces.append(between)
            size += len(between)
        for i, (text, box) in enumerate(current.words):
            if i:
                pieces.append(" ")
                size += 1
            pieces.append(text)
            placed.append(Word(size, size + len(text), _shown(box, page)))
            size += len(text)
        before = current
    return Page(number, page.rect.width, page.rect.height, "".join(pieces), placed)


def _shown(box: Box, page: Any) -> Box:
    """A box on the page as it is shown: get_text takes no notice of a page's rotation."""
    if not page.rotation:
        return box
    import pymupdf

    turned = pymupdf.Rect(box) * page.rotation_matrix
    return (turned.x0, turned.y0, turned.x1, turned.y1)
