"""The text of PDF files, by PyMuPDF, in its own reading order."""

from collections.abc import Iterator
from pathlib import Path

from stages.lib.reading.documents import BrokenInputError

_TEXT_BLOCK = 0


def pdf_pages(path: Path) -> Iterator[str]:
    """Yields the text of each page; its blocks (paragraphs, columns' parts) are separated by blank lines.

    Pages without text (scans) are empty strings. Damaged files that MuPDF can repair are read.

    Raises:
        BrokenInputError: reason `encrypted_pdf` (a password is needed) or `broken_pdf`.
    """
    import pymupdf  # over a second, which sources without PDFs need not wait

    pymupdf.TOOLS.mupdf_display_errors(False)  # they come as exceptions
    pymupdf.TOOLS.mupdf_display_warnings(False)
    try:
        with pymupdf.open(path, filetype="pdf") as document:
            if document.needs_pass:
                raise BrokenInputError("encrypted_pdf", "a password is needed")
            for page in document:
                blocks = page.get_text("blocks")
                texts = (block[4].strip() for block in blocks if block[6] == _TEXT_BLOCK)
                yield "\n\n".join(text for text in texts if text)
    except (RuntimeError, ValueError) as error:  # FileDataError and MuPDF's own are RuntimeErrors
        if isinstance(error, BrokenInputError):
            raise
        raise BrokenInputError("broken_pdf", str(error)) from error


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
