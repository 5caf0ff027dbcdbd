"""The corpus of the graph as documents and passages of the chat: a document is one page, a chunk is a passage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stages.lib.core.chunk_places import document_span, text_in
from stages.lib.core.records import Record
from stages.lib.corpus.pdf import Page
from stages.lib.passages.paged_document import PagedDocument
from stages.lib.passages.passages import Passage, Quote

Place = tuple[str, int, int]  # document, start, end


@dataclass(frozen=True)
class Corpus:
    """Documents and their passages, in the order of the files."""

    documents: list[PagedDocument]  # named by their ids, which also stand for their sha256
    parts: list[list[Passage]]  # of each document
    chunks: dict[Place, str] = field(default_factory=dict)  # -> the chunk's id

    def chunk_of(self, passage: Passage) -> str:
        """The id of a passage's chunk."""
        return self.chunks[passage.document.sha256, passage.start, passage.end]

    def quoted_chunks(self, quote: Quote) -> list[str]:
        """Ids of the chunks that hold more than half of a quote: chunks overlap, so there may be several."""
        start, end = quote.span.start, quote.span.end
        return [
            name
            for (document, first, last), name in self.chunks.items()
            if document == quote.document.sha256 and 2 * (min(end, last) - max(start, first)) > end - start
        ]


def make_corpus(documents: Sequence[Record], chunks: Sequence[Record]) -> Corpus:
    """The corpus of data/chunks/documents.jsonl and chunks.jsonl.

    Raises:
        ValueError: a chunk of an unknown document, or one that is not what its document holds there.
    """
    paged = {
        record["id"]: PagedDocument(record["id"], record["id"], [Page(1, 0.0, 0.0, record["text"], [])])
        for record in documents
    }
    parts: dict[str, list[Passage]] = {name: [] for name in paged}
    places: dict[Place, str] = {}
    for chunk in chunks:
        name, start, end = chunk["document"], chunk["start"], chunk["end"]
        if name not in paged or text_in(paged[name].text, chunk) != chunk["text"]:
            raise ValueError(f"chunk {chunk['id']!r} is not what document {name!r} holds there; run chunk again")
        header = chunk.get("header")
        parts[name].append(Passage(paged[name], start, end, (header[0], header[1]) if header else None))
        places[name, start, end] = chunk["id"]
    kept = [name for name in paged if parts[name]]
    return Corpus([paged[name] for name in kept], [parts[name] for name in kept], places)


def support_of(question: Record, chunks: Mapping[str, Record]) -> Place | None:
    """Where in its document the sentence stands that answers a selected question; None: not known."""
    if question["support"] is None:
        return None
    chunk = chunks[question["chunk"]]
    return chunk["document"], *document_span(chunk, question["support"]["start"], question["support"]["end"])
