"""A paged document as JSON and back."""

from typing import Any

from stages.lib.corpus.pdf import Page, Word
from stages.lib.passages.paged_document import PagedDocument


def to_json(document: PagedDocument) -> dict[str, Any]:
    """All of it; boxes to a hundredth of a point."""
    pages = [
        {
            "number": page.number,
            "width": page.width,
            "height": page.height,
            "text": page.text,
            "words": [[word.start, word.end, *(round(x, 2) for x in word.box)] for word in page.words],
        }
        for page in document.pages
    ]
    unread = {str(number): why for number, why in document.unread.items()}
    return {"name": document.name, "sha256": document.sha256, "pages": pages, "unread": unread}


def from_json(content: dict[str, Any]) -> PagedDocument:
    """What `to_json` wrote."""
    pages = [
        Page(
            number=page["number"],
            width=page["width"],
            height=page["height"],
            text=page["text"],
            words=[Word(start, end, (x0, y0, x1, y1)) for start, end, x0, y0, x1, y1 in page["words"]],
        )
        for page in content["pages"]
    ]
    unread = {int(number): why for number, why in content["unread"].items()}
    return PagedDocument(content["name"], content["sha256"], pages, unread)
