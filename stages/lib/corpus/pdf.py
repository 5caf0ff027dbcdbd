"""The pages of PDF files by PyMuPDF: their text as a person reads it, and the box of every word of it.

In reading order (reading_order.py); ligatures as letters (glyphs.py); without running heads and page numbers
(running_heads.py); words that a line end broke whole again (hyphens.py). Such a word is two words here, one behind
the other without a blank, each with its box.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stages.lib.corpus.glyphs import as_read
from stages.lib.corpus.hyphens import Words
from stages.lib.corpus.reading_order import Line, in_reading_order
from stages.lib.corpus.running_heads import running_lines
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
    except OSError:
        raise  # not the file's content: it cannot be opened at all
    except Exception as error:  # MuPDF's are no RuntimeErrors
        raise BrokenInputError("broken_pdf", _said(error)) from error
    try:
        fault = _fault(document, password)
    except Exception as error:  # a page tree that only counting the pages finds broken
        fault = BrokenInputError("broken_pdf", _said(error))
    if fault:
        document.close()
        raise fault
    return document


def _fault(document: Any, password: str) -> BrokenInputError | None:
    if document.needs_pass and not password:
        return BrokenInputError("encrypted_pdf", "a password is needed")
    if document.needs_pass and not document.authenticate(password):
        return BrokenInputError("wrong_password", "the password does not open it")
    return None if len(document) else BrokenInputError("broken_pdf", "it has no pages")


def _said(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


@dataclass(frozen=True)
class _Sheet:
    """A page as MuPDF has it, its lines in the file's order."""

    number: int
    width: float
    height: float
    lines: list[Line]
    turn: Any  # the matrix to the page as it is shown; None: it is not rotated


def read_pages(
    source: Path | bytes, password: str = "", on_page: Callable[[int], object] = lambda _: None
) -> list[Page | BrokenInputError]:
    """All pages; in the place of a page that MuPDF cannot read, why (the others are still read).

    Args:
        source: a file, or its bytes.
        password: of an encrypted one.
        on_page: told the number of each page as it is read.

    Raises:
        BrokenInputError: as `open_pdf`.
    """
    found = []
    for sheet in _sheets(source, password):
        found.append(sheet)
        on_page(len(found))
    return _finished(found)


def _sheets(source: Path | bytes, password: str = "") -> Iterator[_Sheet | BrokenInputError]:
    with open_pdf(source, password) as document:
        for number in range(1, len(document) + 1):
            try:
                page = document[number - 1]
                lines = _lines(page.get_text("words", sort=False))
                turn = page.rotation_matrix if page.rotation else None
                yield _Sheet(number, page.rect.width, page.rect.height, lines, turn)
            except Exception as error:  # MuPDF has many, no common one of Python's own
                yield BrokenInputError("broken_page", f"page {number}: {_said(error)}")


def pdf_text(path: Path, max_chars: int, on_broken: Callable[[BrokenInputError], object] = lambda _: None) -> str:
    """All pages that can be read, a blank line between them; a word that a page's end broke is whole, too.

    Args:
        path: of the file.
        max_chars: of its text.
        on_broken: told of each page that cannot be read, where others can.

    Raises:
        BrokenInputError: as `open_pdf`; reason `broken_pdf` where no page can be read; reason `too_long` as soon as
            there are more than `max_chars` characters.
    """
    sheets: list[_Sheet | BrokenInputError] = []
    size = 0
    for sheet in _sheets(path):
        sheets.append(sheet)
        if isinstance(sheet, _Sheet):
            size += sum(len(text) + 1 for line in sheet.lines for text, _ in line.words)
        if size - 1 > max_chars:
            raise BrokenInputError("too_long", f"over {max_chars} characters on the first {len(sheets)} pages")
    broken = [sheet for sheet in sheets if isinstance(sheet, BrokenInputError)]
    if broken and len(broken) == len(sheets):
        raise BrokenInputError("broken_pdf", broken[0].detail) from broken[0]
    for page in broken:
        on_broken(page)
    texts = [page.text for page in _finished(sheets) if isinstance(page, Page) and page.text]
    return _joined(texts, _words(sheets))


def _joined(pages: Sequence[str], words: Words) -> str:
    text = "".join(pages[:1])
    for page in pages[1:]:
        last, first = text.rsplit(None, 1)[-1], page.split(None, 1)[0]
        joint = words.joint(last, first, apart=True)
        if joint is None:
            text += f"\n\n{page}"
        else:
            text = text[: len(text) - 1] + joint + re.sub(r"\s+", "\n", page, count=1)
    return text


def _words(sheets: Sequence[_Sheet | BrokenInputError]) -> Words:
    lines = (line for sheet in sheets if isinstance(sheet, _Sheet) for line in sheet.lines)
    return Words([text for text, _ in line.words] for line in lines)


def _finished(sheets: Sequence[_Sheet | BrokenInputError]) -> list[Page | BrokenInputError]:
    whole = [sheet for sheet in sheets if isinstance(sheet, _Sheet)]
    # Of a rotated page the lines lie on their sides here.
    running = running_lines([[] if sheet.turn else sheet.lines for sheet in whole], [sheet.height for sheet in whole])
    words = _words(sheets)
    return [_page(sheet, running, words) if isinstance(sheet, _Sheet) else sheet for sheet in sheets]


def _lines(words: Sequence[tuple[Any, ...]]) -> list[Line]:
    """PyMuPDF's words as lines."""
    lines: list[Line] = []
    for x0, y0, x1, y1, text, block, line, _ in words:
        visible = as_read(text).strip()
        if not visible:
            continue
        if not lines or not lines[-1].goes_on((block, line), (x0, y0, x1, y1)):
            lines.append(Line(place=(block, line)))
        lines[-1].add(visible, (x0, y0, x1, y1))
    return lines


def _page(sheet: _Sheet, running: set[int], known: Words) -> Page:
    """Lines put into reading order and joined."""
    pieces: list[str] = []
    placed: list[Word] = []
    size = 0

    def put(text: str) -> None:
        nonlocal size
        pieces.append(text)
        size += len(text)

    def put_word(text: str, box: Box) -> None:
        placed.append(Word(size, size + len(text), _shown(box, sheet.turn)))
        put(text)

    ordered = in_reading_order([line for line in sheet.lines if id(line) not in running])
    joint: str | None = None  # what the hyphen at the end of the line before became
    for place, line in enumerate(ordered):
        if place and joint is None:
            put("\n" if line.follows(ordered[place - 1]) else "\n\n")
        after = ordered[place + 1] if place + 1 < len(ordered) else None
        going_on = joint is not None
        joint = None
        if after is not None:
            joint = known.joint(line.words[-1][0], after.words[0][0], apart=not after.follows(line))
        for i, (text, box) in enumerate(line.words):
            if i:
                put("\n" if going_on and i == 1 else " ")
            last = i == len(line.words) - 1
            put_word(text[:-1] + joint if last and joint is not None else text, box)
    return Page(sheet.number, sheet.width, sheet.height, "".join(pieces), placed)


def _shown(box: Box, turn: Any) -> Box:
    """A box on the page as it is shown: get_text takes no notice of a page's rotation."""
    if turn is None:
        return box
    import pymupdf

    turned = pymupdf.Rect(box) * turn
    return (turned.x0, turned.y0, turned.x1, turned.y1)
