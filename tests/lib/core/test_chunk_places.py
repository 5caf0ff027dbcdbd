"""Places in a chunk's text and in its document, with and without a table's header."""

import pytest

from stages.lib.core.chunk_places import document_span, header_chars, holds, text_in

DOCUMENT = "Text.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n"
HEADER = [DOCUMENT.index("| a"), DOCUMENT.index("| 1")]
ROW = DOCUMENT.index("| 3")
PLAIN = {"id": "d-0", "start": 0, "end": 5, "header": None}
CONTINUED = {"id": f"d-{ROW}", "start": ROW, "end": len(DOCUMENT) - 1, "header": HEADER}


def test_a_chunk_inside_a_table_is_its_header_and_its_rows() -> None:
    assert text_in(DOCUMENT, PLAIN) == "Text."
    assert text_in(DOCUMENT, CONTINUED) == "| a | b |\n|---|---|\n| 3 | 4 |"
    assert text_in(DOCUMENT, {"start": 0, "end": 5}) == "Text."
    assert (header_chars(PLAIN), header_chars(CONTINUED)) == (0, 20)


@pytest.mark.parametrize("part", ["| 3 | 4 |", "4", "b"])
def test_every_part_of_the_text_is_found_in_the_document(part: str) -> None:
    at = text_in(DOCUMENT, CONTINUED).index(part)
    start, end = document_span(CONTINUED, at, at + len(part))
    assert DOCUMENT[start:end] == part
    assert holds(CONTINUED, start, end)
    assert not holds(PLAIN, start, end)


def test_what_reaches_from_the_header_into_the_rows_counts_as_rows() -> None:
    assert document_span(CONTINUED, 15, 23) == (ROW, ROW + 3)


def test_what_is_between_header_and_rows_is_not_held() -> None:
    skipped = DOCUMENT.index("| 1")
    assert not holds(CONTINUED, skipped, skipped + 9)
    assert not holds(CONTINUED, HEADER[0], ROW + 2)


@pytest.mark.parametrize("span", [(-1, 2), (3, 3), (25, 30)])
def test_a_span_outside_of_the_text_is_an_error(span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"lies outside the text of chunk 'd-37'"):
        document_span(CONTINUED, *span)
