"""Embedding through stages.lib.embedding against `SentenceTransformer.encode` with its defaults, side by side.

Run: python -m bench.embed [--texts 512] [--repeats 3] [--file data/chunks/chunks.jsonl]

Real text: the project's chunks when there are some, else docstrings of installed packages cut
as stages/chunk.py cuts them. Each repeat runs every engine once, one after the other, each from
an empty ledger; loading the weights is not counted. Prints a markdown table of medians.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from stages.lib.cache.ledger import Ledger
from stages.lib.core.records import read_jsonl
from stages.lib.embedding.embedders import Embedder
from stages.lib.embedding.text_encoder import TextEncoder
from stages.lib.reading.documents import Document
from stages.lib.reading.packages import PackagesSource, read_packages
from stages.lib.splitting.splitters import split
from stages.lib.weights.models import load_model_entry, locate, resolved_dtype

CHUNKS = Path("data/chunks/chunks.jsonl")
MODEL = "minilm-l6"
WARM_UP = ["a text that is not measured", "and another one " * 30]


class Run(NamedTuple):
    """One run of one engine."""

    wall: float  # seconds
    cpu: float  # seconds of all threads
    vectors: np.ndarray


Engine = Callable[[list[str]], Run]


def read_texts(file: Path | None, count: int) -> list[str]:
    """`count` texts drawn with a fixed seed from a JSONL file's `text`, or from the documentation of packages."""
    if file is None and CHUNKS.exists():
        file = CHUNKS
    if file is not None:
        texts = [record["text"] for record in read_jsonl(file, required=("text",))]
    else:
        source = PackagesSource(kind="packages", names=["accelerate", "datasets", "peft"])
        documents = [item for item in read_packages(source, 10**8, lambda _: None) if isinstance(item, Document)]
        texts = [
            document.text[span.start : span.end]
            for document in documents
            for span in split(document.text, "recursive", 700, 0.1)
        ]
    texts = sorted(set(texts))  # a text that is there twice would be computed once by us and twice by the peer
    return random.Random(0).sample(texts, min(count, len(texts)))


def measured(function: Callable[[], np.ndarray]) -> Run:
    """Runs the function under the clocks."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return Run(time.perf_counter() - wall, time.process_time() - cpu, result)


def peer() -> Engine:
    """`SentenceTransformer.encode` as its README shows it."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(locate(load_model_entry(MODEL))))
    model.encode(WARM_UP)
    return lambda texts: measured(lambda: model.encode(texts))


def ours(dtype: Literal["float32", "auto"]) -> Engine:
    """Our embedder with its ledger, in one precision."""
    entry = replace(load_model_entry(MODEL), dtype=dtype)

    def run(texts: list[str]) -> Run:
        with tempfile.TemporaryDirectory() as place:
            embedder = Embedder(MODEL, entry, Ledger(Path(place) / "ledger.sqlite"))
            embedder.encode_documents(WARM_UP)
            return measured(lambda: embedder.encode_documents(texts))

    return run


def padding_share(texts: list[str], batch: int = 32) -> tuple[float, float]:
    """Computed tokens for each real one: in the peer's batches (sorted by characters) and in ours."""
    with tempfile.TemporaryDirectory() as place:
        encoder = Embedder(MODEL, load_model_entry(MODEL), Ledger(Path(place) / "ledger")).encoder
    assert isinstance(encoder, TextEncoder)
    token_ids = encoder.tokenize(texts)
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    starts = range(0, len(order), batch)
    theirs = sum(len(order[s : s + batch]) * max(len(token_ids[i]) for i in order[s : s + batch]) for s in starts)
    own = sum(encoder.batch_size * encoder.padded_length(token_ids[b[0]]) for b in encoder.plan(token_ids))
    real = sum(map(len, token_ids))
    return theirs / real, own / real


def table(rows: dict[str, list[Run]], count: int) -> str:
    """The medians as markdown; ratios are to the first row."""
    lines = [
        "| engine | seconds | texts/s | CPU seconds | ratio | CPU ratio | largest difference | least cosine |",
        "|---|---|---|---|---|---|---|---|",
    ]
    first = next(iter(rows.values()))
    for name, runs in rows.items():
        wall, cpu = statistics.median(run.wall for run in runs), statistics.median(run.cpu for run in runs)
        pairs = list(zip(first, runs, strict=True))  # one after the other in time
        faster = statistics.median(a.wall / b.wall for a, b in pairs)
        cheaper = statistics.median(a.cpu / b.cpu for a, b in pairs)
        difference = np.abs(runs[0].vectors - first[0].vectors).max()
        cosine = (runs[0].vectors.astype(np.float64) * first[0].vectors).sum(axis=1).min()
        lines.append(
            f"| {name} | {wall:.2f} | {count / wall:.1f} | {cpu:.2f} | {faster:.2f} | {cheaper:.2f} "
            f"| {difference:.1e} | {cosine:.6f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=512, help="how many texts")
    parser.add_argument("--repeats", type=int, default=3, help="how often each engine runs")
    parser.add_argument("--file", type=Path, help="JSONL with a `text` each line")
    arguments = parser.parse_args()
    texts = read_texts(arguments.file, arguments.texts)
    engines = {"SentenceTransformer.encode": peer(), "llmill float32": ours("float32")}
    fastest = resolved_dtype("auto")
    if fastest != "float32":
        engines[f"llmill {fastest} (`dtype: auto` here)"] = ours("auto")
    rows: dict[str, list[Run]] = {name: [] for name in engines}
    for _ in range(arguments.repeats):
        for name, engine in engines.items():
            rows[name].append(engine(texts))
    theirs, own = padding_share(texts)
    print(f"{len(texts)} texts, {torch.get_num_threads()} threads, median of {arguments.repeats}; ", end="")
    print(f"tokens computed for each real one: theirs {theirs:.2f}, ours {own:.2f}\n")
    print(table(rows, len(texts)))


if __name__ == "__main__":
    main()
