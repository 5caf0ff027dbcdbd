"""Small PDFs, made here."""

from collections.abc import Sequence
from typing import Any

import pymupdf


def lined_pdf(*pages: Sequence[tuple[float, float, str]], rotation: int = 0, **options: Any) -> bytes:
    """A PDF of pages of (x, y of the baseline, text), written in the order given, 10 points high."""
    document = pymupdf.open()
    for lines in pages:
        page = document.new_page()
        for x, y, text in lines:
            page.insert_text((x, y), text, fontsize=10)
        page.set_rotation(rotation)
    return bytes(document.tobytes(**options))


def paragraphs_pdf(*pages: str, **options: Any) -> bytes:
    """A PDF of one paragraph a page, lines of the text as they are."""
    return lined_pdf(
        *[[(72, 80 + 14 * i, line) for i, line in enumerate(page.split("\n"))] for page in pages], **options
    )
