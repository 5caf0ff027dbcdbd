"""The page beside the conversation: its picture as a data URI, and what is marked on it.

The marks lie over the picture in percent of the page, so that one picture serves all citations on it. Text files have
no pages to draw: their text is shown around what is marked.
"""

import base64
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.escaping import escaped
from app.library import MUPDF
from app.people import Person
from stages.lib.corpus.pdf import Box, open_pdf
from stages.lib.passages.paged_document import PagedDocument
from stages.lib.reading.documents import BrokenInputError

SCALE = 1.6  # pixels per point: 115 dpi
MOST_PIXELS = 1600  # of the longer side; a poster is drawn smaller
AROUND = 4000  # characters of a text file on each side of what is marked
PICTURES = 32  # kept in memory, of all people together


class Drawings:
    """Pictures of pages that were drawn lately; whoever asks has seen to it that the document is the person's own."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._changing = threading.Lock()

    def data_uri(self, sha256: str, file: Path, number: int) -> str:
        """A page of the document with that hash and file, as `data:image/png;base64,...`.

        Raises:
            BrokenInputError: it cannot be read.
        """
        with self._changing:
            png = self._known.pop((sha256, number), None)
        if png is None:
            png = draw_page(file, number)
        with self._changing:
            self._known[sha256, number] = png
            while len(self._known) > PICTURES:
                self._known.popitem(last=False)
        return "data:image/png;base64," + base64.b64encode(png).decode()


def draw_page(file: Path, number: int) -> bytes:
    """A page (from 1) of a PDF as PNG.

    Raises:
        BrokenInputError: it cannot be read.
    """
    import pymupdf

    with MUPDF, open_pdf(file) as document:
        try:
            if not 1 <= number <= len(document):
                raise ValueError(f"there are {len(document)} pages")
            page = document[number - 1]
            scale = min(SCALE, MOST_PIXELS / max(page.rect.width, page.rect.height, 1))
            return bytes(page.get_pixmap(matrix=pymupdf.Matrix(scale, scale), alpha=False).tobytes("png"))
        except (RuntimeError, ValueError) as error:
            raise BrokenInputError("broken_page", f"page {number}: {error}") from error


def shown_page(person: Person, sha256: str, number: int, quote: Mapping[str, Any] | None, drawings: Drawings) -> str:
    """A page of a person's document as HTML, a quote (of `citation_json`) marked; a message where it is not there."""
    try:
        document = person.document(sha256)
        if not document.pages[0].width:
            return text_html(document, (quote["start"], quote["end"]) if quote else None)
        picture = drawings.data_uri(sha256, person.library.file(sha256), number)
        return page_html(document, number, picture, quote["rectangles"] if quote else [])
    except KeyError:
        return '<div class="empty">This document is no longer in your library.</div>'
    except BrokenInputError as error:
        return f'<div class="error">This page cannot be drawn: {escaped(error)}</div>'


def page_html(document: PagedDocument, number: int, picture: str, marks: Sequence[Box]) -> str:
    """A page with marks; `picture` is its data URI, `marks` in points from the page's top left."""
    page = next((page for page in document.pages if page.number == number), None)
    marks = marks if page else []
    width, height = (page.width, page.height) if page else (1.0, 1.0)
    drawn = "".join(
        f'<div class="mark" style="left:{100 * left / width:.3f}%;top:{100 * top / height:.3f}%;'
        f'width:{100 * (right - left) / width:.3f}%;height:{100 * (bottom - top) / height:.3f}%"></div>'
        for left, top, right, bottom in marks
    )
    name = escaped(f"{document.name}, page {number}")
    return f'{_bar(document, number)}<div class="sheet"><img src="{picture}" alt="{name}">{drawn}</div>'


def text_html(document: PagedDocument, span: tuple[int, int] | None) -> str:
    """A text file around a span of it, the span marked."""
    text = document.pages[0].text
    start, end = span or (0, 0)
    first, last = max(0, start - AROUND), min(len(text), end + AROUND)
    before, after = "…" if first else "", "…" if last < len(text) else ""
    marked = f'<mark class="mark">{escaped(text[start:end])}</mark>' if end > start else ""
    return (
        f'{_bar(document, 1)}<pre class="text">{before}{escaped(text[first:start])}{marked}'
        f"{escaped(text[end:last])}{after}</pre>"
    )


def _bar(document: PagedDocument, number: int) -> str:
    last = max([page.number for page in document.pages] + list(document.unread))
    back, on = (
        f'<button data-act="turn" data-sha="{document.sha256}" data-page="{other}" aria-label="{label}" '
        f"{'' if 1 <= other <= last else 'disabled'}>{sign}</button>"
        for other, label, sign in ((number - 1, "page before", "◀"), (number + 1, "next page", "▶"))
    )
    return (
        f'<div class="bar">{back}<span class="place"><b>{escaped(document.name)}</b> · '
        f"page {number} of {last}</span>{on}</div>"
    )
