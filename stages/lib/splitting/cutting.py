"""A document -> its chunks, each with exact offsets: `document[start:end] == text`, behind a header if it has one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from stages.lib.core.chunk_places import text_in
from stages.lib.core.records import Record
from stages.lib.reading.documents import Document
from stages.lib.splitting.headings import Headings
from stages.lib.splitting.splitters import Splitter, split
from stages.lib.splitting.tables import Tables


@dataclass(frozen=True)
class Cutter:
    """Cuts documents; plain values, so that it can be sent to where they are cut."""

    splitter: Splitter
    chunk_chars: int  # characters per chunk at most
    overlap_fraction: float  # of chunk_chars, shared by neighbouring chunks

    def __call__(self, documents: Sequence[Document]) -> list[list[Record]]:
        """The chunks of each document, in order."""
        return [self.chunks(document) for document in documents]

    def chunks(self, document: Document) -> list[Record]:
        """The chunks of one document, in order."""
        tables = Tables(document.text, self.chunk_chars)
        headings = Headings(document.text) if is_markdown(document.source, self.splitter) else None
        found = []
        for start, end in split(document.text, self.splitter, self.chunk_chars, self.overlap_fraction, tables):
            header = tables.header(start)
            chunk: Record = {
                "id": f"{document.id}-{start}",
                "document": document.id,
                "source": document.source,
                "heading": headings.path(start) if headings else "",
                "header": list(header) if header else None,
                "start": start,
                "end": end,
            }
            found.append(chunk | {"text": text_in(document.text, chunk)})
        return found


def is_markdown(source: str, splitter: Splitter) -> bool:
    """Whether a document's headings are looked for: not in PDFs, in plain text only by the splitter `markdown`."""
    suffix = PurePosixPath(source.lower()).suffix
    return suffix != ".pdf" and (splitter == "markdown" or suffix != ".txt")
