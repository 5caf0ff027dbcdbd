"""Where the text of a chunk record stands in its document.

A chunk that begins inside a table carries the table's header: `text == document[h0:h1] + document[start:end]` with
`header == [h0, h1]`, the header's own lines. Of every other chunk `header` is null and the text is
`document[start:end]`. Who goes from places in a chunk's text to places in the document goes through here.
"""

from stages.lib.core.records import Record


def header_chars(chunk: Record) -> int:
    """Characters of a chunk's text that are its table's header; 0 without one."""
    header = chunk.get("header")
    return header[1] - header[0] if header else 0


def text_in(document: str, chunk: Record) -> str:
    """What a chunk's text must be, by its places in the text of its document."""
    header = chunk.get("header") or (0, 0)
    return document[header[0] : header[1]] + document[chunk["start"] : chunk["end"]]


def document_span(chunk: Record, start: int, end: int) -> tuple[int, int]:
    """Where `text[start:end]` of a chunk stands in its document: (start, end).

    Of a span that reaches from the table's header into the chunk's own rows, the part among the rows.

    Raises:
        ValueError: the span is empty or not within the chunk's text.
    """
    added = header_chars(chunk)
    if not 0 <= start < end <= added + chunk["end"] - chunk["start"]:
        raise ValueError(f"{start}..{end} lies outside the text of chunk {chunk['id']!r}")
    if end <= added:
        return chunk["header"][0] + start, chunk["header"][0] + end
    return chunk["start"] + max(start - added, 0), chunk["start"] + end - added


def holds(chunk: Record, start: int, end: int) -> bool:
    """Whether a chunk's text holds all of `document[start:end]`, in its own span or in the header that it carries."""
    header = chunk.get("header")
    return (chunk["start"] <= start and end <= chunk["end"]) or bool(header and header[0] <= start and end <= header[1])
