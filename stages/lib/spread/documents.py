"""Documents cut into chunks, by this process or by the workers of a Ray cluster; both give the same, in order.

The documents are read by this process, a window at a time: workers need not reach the files, and of a corpus that no
memory holds no more than a window is there.
"""

from collections.abc import Iterable, Iterator
from functools import partial

from stages.lib.core.records import Record
from stages.lib.reading.documents import Document, DocumentOrDrop, Drop
from stages.lib.splitting.cutting import Cutter
from stages.lib.spread.cluster import Cluster
from stages.lib.spread.pieces import Compute, Failed, compute_each

WINDOW_CHARS = 200_000_000  # of documents that are cut between two writings
PIECE_CHARS = 500_000  # of the documents that a worker is sent at once

Cut = tuple[DocumentOrDrop, list[Record]]  # a document that cannot be cut is a drop, `failed`


def cut_all(items: Iterable[DocumentOrDrop], cutter: Cutter, cluster: Cluster | None) -> Iterator[Cut]:
    """Yields each item, in order, with the chunks of a document."""
    if cluster is None:
        for item in items:
            yield _cut(item, compute_each(cutter, [item])[0]) if isinstance(item, Document) else (item, [])
        return
    window: list[DocumentOrDrop] = []
    size = 0
    for item in items:
        window.append(item)
        size += len(item.text) if isinstance(item, Document) else 0
        if size >= WINDOW_CHARS:
            yield from _by_workers(window, cutter, cluster)
            window, size = [], 0
    yield from _by_workers(window, cutter, cluster)


def _by_workers(window: list[DocumentOrDrop], cutter: Cutter, cluster: Cluster) -> Iterator[Cut]:
    documents = [item for item in window if isinstance(item, Document)]
    pieces: list[list[int]] = []
    size = PIECE_CHARS
    for place, document in enumerate(documents):
        if size >= PIECE_CHARS:
            pieces.append([])
            size = 0
        pieces[-1].append(place)
        size += len(document.text)
    found: dict[int, list[Record] | Failed] = {}
    for done in cluster.each(partial(open_cutting, cutter), documents, pieces):
        found.update(zip(done.places, done.results, strict=True))
    place = 0
    for item in window:
        if isinstance(item, Document):
            yield _cut(item, found.pop(place))
            place += 1
        else:
            yield item, []


def _cut(document: Document, chunks: list[Record] | Failed) -> Cut:
    if isinstance(chunks, Failed):
        return Drop(document.source, "failed", chunks.error), []
    return document, chunks


def open_cutting(cutter: Cutter) -> Compute[Document, list[Record]]:
    """In a worker: what cuts the documents of a piece."""
    return cutter
