"""The checks that every text passes, whatever source it comes from."""

import pytest

from stages.lib.reading.documents import BrokenInputError, Document, Drop, as_document, decode_utf8, duplicate_key


def test_line_ends_become_newlines_and_nothing_else_changes() -> None:
    assert as_document("s", " a\r\nb\rc\n\n", "s", 99) == Document("s", " a\nb\nc\n\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "no_text"),
        (7, "no_text"),
        ("", "empty"),
        (" \n\t\u2003", "empty"),
        ("x\ud800", "invalid_unicode"),
        ("x" * 11, "too_long"),
    ],
)
def test_unusable_texts_are_drops(text: object, reason: str) -> None:
    item = as_document("s", text, "file:3", 10)
    assert isinstance(item, Drop)
    assert (item.source, item.reason) == ("file:3", reason)


def test_a_source_that_utf8_cannot_write_is_a_drop() -> None:
    assert as_document("\udc80.md", "text", "w", 99) == Drop(
        "w", "invalid_unicode", "character 0: surrogates not allowed"
    )


def test_utf8_is_strict_and_a_byte_order_mark_goes() -> None:
    assert decode_utf8("\ufeffgrüß".encode()) == "grüß"
    with pytest.raises(BrokenInputError, match="byte 3"):
        decode_utf8(b"abc\xff")


def test_duplicates_differ_in_no_more_than_white_space_at_ends() -> None:
    assert duplicate_key("\na  \n b\n\n") == duplicate_key("a\n b")
    assert duplicate_key("a\nb") != duplicate_key("a b")
    assert duplicate_key("a\n\nb") != duplicate_key("a\nb")


def test_the_id_depends_on_source_and_text() -> None:
    ids = {Document(source, text).id for source in "ab" for text in "cd"}
    assert len(ids) == 4
    assert all(len(name) == 12 for name in ids)
