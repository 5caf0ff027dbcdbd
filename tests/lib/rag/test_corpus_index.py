"""Chunks as the chat's passages: those inside a table read with its header and point to their own rows."""

import pytest

from stages.lib.passages.passages import quotes
from stages.lib.rag.corpus_index import make_corpus, support_of

TEXT = "Options.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"
HEADER = [TEXT.index("| a"), TEXT.index("| 1")]
ROW = TEXT.index("| 3")
CHUNK = {"id": "t", "document": "d", "header": HEADER, "start": ROW, "end": len(TEXT)}


def test_a_passage_in_a_table_reads_with_the_header_and_is_quoted_without() -> None:
    text = TEXT[HEADER[0] : HEADER[1]] + TEXT[ROW:]
    corpus = make_corpus([{"id": "d", "text": TEXT}], [CHUNK | {"text": text}])
    ((passage,),) = corpus.parts
    assert passage.text == text
    assert corpus.chunk_of(passage) == "t"
    assert all(quote.span.end > ROW for quote in quotes(passage))


def test_a_support_behind_the_header_is_found_in_the_document() -> None:
    place = support_of({"chunk": "t", "support": {"start": 20, "end": 29}}, {"t": CHUNK})
    assert place == ("d", ROW, ROW + 9)
    assert support_of({"chunk": "t", "support": None}, {"t": CHUNK}) is None


def test_a_chunk_that_is_not_what_the_document_holds_is_an_error() -> None:
    with pytest.raises(ValueError, match="chunk 't' is not what document 'd' holds there"):
        make_corpus([{"id": "d", "text": TEXT}], [CHUNK | {"text": TEXT[ROW:]}])
