"""Document sources -> chunks.jsonl: exact-duplicate documents out, the rest cut into overlapping chunks.

Every chunk carries exact offsets: `document[start:end] == text`, with the header of its table ahead of it where the
chunk begins inside one (lib/core/chunk_places.py). Run: python -m stages.chunk
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("chunk", ["chunk", "write"])

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

from stages.lib.core.metrics import Stopwatch, check_counts, ending, write_metrics
from stages.lib.core.params import load
from stages.lib.core.records import Record, atomic_path
from stages.lib.corpus.sources import DocumentSource, hub_commits, parse_source, read_source, work_of
from stages.lib.reading.documents import Document, DocumentOrDrop, DocumentStream, Drop, duplicate_key
from stages.lib.splitting.cutting import Cutter
from stages.lib.splitting.splitters import Splitter
from stages.lib.spread.cluster import Engine, RayParams, open_cluster
from stages.lib.spread.documents import cut_all

OUTPUT_DIR = Path("data/chunks")
EXAMPLES = 3  # drops of each reason that are shown
EXAMPLE_CHARS = 200  # of what is said about one
PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `chunk` of params.yaml."""

    sources: list[dict[str, Any]]  # each a `kind` (hub, files, packages) and the fields of its dataclass
    chunk_chars: int  # characters per chunk at most, >= 20
    overlap_fraction: float  # of chunk_chars, shared by neighbouring chunks, 0..0.5
    splitter: Splitter
    max_document_chars: int  # longer documents are dropped (`too_long`)
    engine: Engine = "local"  # who cuts: this process, or the workers of a Ray cluster (section ray)

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources: no source is named")
        if self.chunk_chars < 20:
            raise ValueError(f"chunk_chars: {self.chunk_chars} is below 20")
        if not 0 <= self.overlap_fraction <= 0.5:
            raise ValueError(f"overlap_fraction: {self.overlap_fraction} is not in 0..0.5")
        if self.max_document_chars < 1:
            raise ValueError(f"max_document_chars: {self.max_document_chars} is below 1")
        self.parsed_sources()

    def parsed_sources(self) -> list[DocumentSource]:
        """The typed sources. Raises `ValueError` naming the key."""
        return [parse_source(content, f"sources[{i}]") for i, content in enumerate(self.sources)]

    def cutter(self) -> Cutter:
        """What cuts the documents."""
        return Cutter(self.splitter, self.chunk_chars, self.overlap_fraction)


@dataclass
class Tally:
    """What a run counts, for the metrics."""

    documents: int = 0  # that came in
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # by reason
    examples: dict[str, list[Drop]] = field(default_factory=dict)  # the first EXAMPLES of each reason
    lengths: Counter[int] = field(default_factory=Counter)  # characters of a chunk -> how many such chunks
    shared: int = 0  # characters that neighbouring chunks have in common
    joints: int = 0  # pairs of neighbouring chunks

    def drop(self, drop: Drop) -> None:
        """Counts a document that is left out."""
        self.dropped[drop.reason] += 1
        if len(examples := self.examples.setdefault(drop.reason, [])) < EXAMPLES:
            examples.append(drop)

    def keep(self, chunks: Sequence[Record]) -> None:
        """Counts a document that is kept, and its chunks."""
        self.kept += 1
        self.lengths.update(len(chunk["text"]) for chunk in chunks)
        self.joints += max(0, len(chunks) - 1)
        self.shared += sum(max(0, one["end"] - two["start"]) for one, two in pairwise(chunks))


def drop_duplicates(items: DocumentStream, tally: Tally) -> DocumentStream:
    """Turns every document whose text came before (see `duplicate_key`) into a drop; counts what passes."""
    first: dict[bytes, str] = {}
    for item in items:
        tally.documents += 1
        kept: DocumentOrDrop = item
        if isinstance(item, Document):
            key = duplicate_key(item.text)
            if key in first:
                kept = Drop(item.source, "duplicate_document", f"same text as document {first[key]}")
            else:
                first[key] = item.id
        yield kept


def summary(tally: Tally, params: Params) -> dict[str, Any]:
    """The metrics: documents in = kept + dropped by reason, number and length of chunks, measured overlap."""
    chunks = tally.lengths.total()
    characters = sum(length * count for length, count in tally.lengths.items())
    return {
        "documents": check_counts(tally.documents, tally.kept, dict(tally.dropped)),
        "chunks": chunks,
        "characters": characters,
        "chunk_chars": {
            "mean": characters / max(1, chunks),
            "min": min(tally.lengths, default=0),
            **{f"p{share}": percentile(tally.lengths, share) for share in PERCENTILES},
            "max": max(tally.lengths, default=0),
        },
        "overlap_fraction": tally.shared / max(1, tally.joints) / params.chunk_chars,
    }


def dropped_lines(tally: Tally) -> list[str]:
    """What was dropped and why, for a person to read: a line for each reason, and some examples below it."""
    if not tally.dropped:
        return []
    lines = ["chunk: dropped documents, all in " + (OUTPUT_DIR / "dropped.jsonl").as_posix()]
    for reason, count in tally.dropped.most_common():
        lines.append(f"  {reason}: {count:,}")
        for drop in tally.examples[reason]:
            detail = " ".join(drop.detail.split())
            shown = detail if len(detail) <= EXAMPLE_CHARS else f"{detail[:EXAMPLE_CHARS]} ..."
            lines.append(f"    {drop.source}" + (f": {shown}" if shown else ""))
        if count > EXAMPLES:
            lines.append(f"    ... and {count - EXAMPLES:,} more")
    return lines


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: documents kept and the chunks of them."""
    return {"chunk": {"documents": results["documents"]["kept"], "chunks": results["chunks"]}}


def percentile(lengths: Counter[int], share: int) -> int:
    """The smallest length such that at least `share` percent of all are no longer (nearest rank)."""
    rank = -(-share * lengths.total() // 100)
    seen = 0
    for length in sorted(lengths):
        seen += lengths[length]
        if seen >= rank:
            return length
    return 0


def read_all(params: Params) -> DocumentStream:
    """All sources one after another, each under its progress bar; what they ask for is checked before any is read."""

    def advance(amount: int) -> None:
        bar.update(amount)  # of the source being read

    streams = [
        (source, work_of(source), read_source(source, params.max_document_chars, advance))
        for source in params.parsed_sources()
    ]
    for source, work, stream in streams:
        with progress.bar(f"chunk {source.kind}", work.total, work.unit, unit_scale=True) as bar:
            yield from stream


def main() -> None:
    """Reads params.yaml, writes data/chunks/{documents,chunks,dropped}.jsonl and metrics/chunk.json."""
    params = load(Params, "chunk")
    watch = Stopwatch("chunk")
    tally = Tally()
    with ExitStack() as stack:

        def output(name: str) -> TextIO:
            return stack.enter_context(stack.enter_context(atomic_path(OUTPUT_DIR / name)).open("w", encoding="utf-8"))

        documents, chunks, dropped = output("documents.jsonl"), output("chunks.jsonl"), output("dropped.jsonl")
        cluster = stack.enter_context(open_cluster(params.engine, lambda: load(RayParams, "ray")))
        for item, cut in cut_all(drop_duplicates(read_all(params), tally), params.cutter(), cluster):
            if isinstance(item, Drop):
                tally.drop(item)
                _write(dropped, asdict(item))
            else:
                tally.keep(cut)
                _write(documents, {"id": item.id, "source": item.source, "text": item.text})
                for chunk in cut:
                    _write(chunks, chunk)
        if not tally.kept:
            raise ValueError("\n".join(["no document could be cut", *dropped_lines(tally)]))
    watch.lap("chunk")
    results = summary(tally, params)
    if commits := hub_commits(params.parsed_sources()):
        results["revisions"] = commits
    write_metrics("chunk", results, headline)
    watch.write(documents=tally.documents, chunks=tally.lengths.total())
    print("\n".join(dropped_lines(tally)), end="\n" if tally.dropped else "")
    made = f"{results['chunks']:,} chunks"
    print(ending("chunk", results["documents"], "documents", made, OUTPUT_DIR / "chunks.jsonl"))


def _write(file: TextIO, record: Record) -> None:
    file.write(json.dumps(record, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
