"""Ligatures as letters, invisible characters out."""

import pytest

from stages.lib.corpus.glyphs import as_read


@pytest.mark.parametrize(
    ("word", "read"),
    [
        ("ﬁne", "fine"),
        ("ﬂow", "flow"),
        ("eﬀect", "effect"),
        ("eﬃcient", "efficient"),
        ("aﬄuent", "affluent"),
        ("ﬅop", "stop"),
        ("ﬆop", "stop"),
        ("\uf001le", "file"),
        ("re\uf002ect", "reflect"),
        ("\uf0b7", "•"),
        ("a\0b\x02c", "abc"),
        ("\ufeffx\uffff", "x"),
        ("soft\u00adware", "software"),
        ("soft\u00ad", "soft\u00ad"),
        ("ﻻ", "لا"),
        ("\0", ""),
        ("naïve½²", "naïve½²"),  # what has a look of its own stays
        ("plain", "plain"),
    ],
)
def test_a_word_is_what_a_person_reads(word: str, read: str) -> None:
    assert as_read(word) == read
