"""chunks.jsonl, qa_selected.jsonl -> {model}_chunks.npy, {model}_{instruction}_query.npy: embed both by one model.

Run: python -m stages.embed MODEL   (one of embed.models)

Each array is (n, d) float32 with rows of length 1; the ids of its rows stand beside it,
in `{model}_chunks_ids.json` and `{model}_query_ids.json`. Questions are embedded once for
each instruction of the params: what a model is told about the search it is used for.
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("embed", ["embed", "write"])

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stages.lib.core.metrics import Stopwatch, check_counts, ending, write_metrics
from stages.lib.core.params import in_domain, load, read_param
from stages.lib.core.records import Record, iterate_jsonl, read_jsonl, write_array, write_json, write_rows
from stages.lib.core.telling import Tell, check_tell, title_of, told_text
from stages.lib.core.tracked import check_declared
from stages.lib.embedding.embedders import Embedder, open_embedder
from stages.lib.spread.cluster import Engine, RayParams, open_cluster
from stages.lib.spread.vectors import by_workers
from stages.lib.weights.models import load_model_entry

Corpus = Literal["all", "deduplicated"]
CORPORA: dict[Corpus, Path] = {
    "all": Path("data/chunks/chunks.jsonl"),
    "deduplicated": Path("data/chunks/chunks_dedu.jsonl"),
}
SELECTED = Path("data/selected/qa_selected.jsonl")
OUT = Path("data/embeddings")
SHOWN = 5  # chunks without a vector that are named


@dataclass(frozen=True, kw_only=True)
class Params:
    """The `embed:` section."""

    models: list[str]  # names of models: entries; one process each
    instructions: dict[str, str]  # name -> text put to each query; "" leaves the query alone
    corpus: Corpus  # what is searched: every chunk, or those that dedup kept
    tell: list[Tell]  # what stands before a chunk's text where it is searched: embedded, reranked, counted by BM25
    engine: Engine = "local"  # who embeds: this process, or the workers of a Ray cluster (section ray)

    def __post_init__(self) -> None:
        if not self.models or not self.instructions:
            raise ValueError("models and instructions must each name at least one")
        check_tell(self.tell, "embed.tell")
        for name in self.instructions:
            if not re.fullmatch(r"[a-z0-9_]+", name):
                raise ValueError(f"instructions.{name}: a name is lower-case letters, digits and underscores")


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What the stage writes; n chunks and q questions."""

    chunk_ids: list[str]  # (n,)
    chunk_blocks: Iterator[np.ndarray]  # rows of the chunks' vectors (n, d), in order, read once
    question_ids: list[str]  # (q,)
    queries: dict[str, np.ndarray]  # instruction -> (q, d)
    failed: dict[str, str]  # chunk -> why it has no vector; it is left out of the search
    metrics: dict[str, Any]


def embed(chunks: Iterable[Record], questions: Sequence[Record], embedder: Embedder, params: Params) -> Embedded:
    """Computes what the ledger of vectors lacks. Of the chunks no more is held than ids, texts and titles.

    Raises:
        ValueError: no chunks or no questions, an id twice, not one chunk with a vector, or a question without.
    """
    titled = embedder.templates.titled
    chunk_ids: list[str] = []
    texts: list[str] = []
    titles: list[str] | None = [] if titled else None
    for chunk in chunks:
        chunk_ids.append(chunk["id"])
        _check_text(chunk, "text", "chunk")
        texts.append(told_text(chunk, params.tell))
        if titles is not None:
            titles.append(title_of(chunk))
    if not texts:
        raise ValueError(f"{CORPORA[params.corpus]}: no chunks")
    _check_ids(chunk_ids, "chunk")
    question_ids = [question["id"] for question in questions]
    for question in questions:
        _check_text(question, "question", "selected question")
    _check_ids(question_ids, "selected question")
    asked = [question["question"] for question in questions]
    if not questions:
        raise ValueError(
            f"{SELECTED}: no selected questions, so nothing to search for; see {SELECTED.parent}/funnel.csv"
        )
    progress = f"embed chunks {embedder.name}"
    failed: dict[int, str] = {}
    chunk_blocks = embedder.document_blocks(texts, progress, ids=chunk_ids, titles=titles, failed=failed)
    if len(failed) == len(texts):
        raise ValueError(f"{embedder.name}: not one chunk has a vector; the first: {failed[0]}")
    query_vectors = {
        name: embedder.encode_queries(asked, instruction, progress=f"embed {name} {embedder.name}", ids=question_ids)
        for name, instruction in params.instructions.items()
    }
    truncated = embedder.count_truncated(texts, titles)
    row = {chunk: i for i, chunk in enumerate(chunk_ids)}
    places = [(i, row.get(question["chunk"], -1)) for i, question in enumerate(questions)]
    own = [(i, place) for i, place in places if place >= 0 and place not in failed]
    own_vectors = embedder.encode_documents(
        [texts[i] for _, i in own], progress=None, titles=titles and [titles[i] for _, i in own]
    )  # (questions about a chunk of the corpus, d)
    metrics = {
        "corpus": params.corpus,
        "chunks": len(texts) - len(failed),
        "failed_chunks": len(failed),
        "queries": len(asked),
        "dimension": embedder.dimension,
        "max_length": embedder.encoder.max_length,
        "pooling": embedder.encoder.pooling,
        "dtype": embedder.encoder.dtype,
        "truncated_chunks": truncated,
        "truncated_chunks_share": truncated / len(texts),
        "instructions": {
            name: {
                "truncated_queries": embedder.count_truncated_queries(asked, instruction),
                "mean_cosine_to_own_chunk": _mean_cosine(query_vectors[name][[i for i, _ in own]], own_vectors),
            }
            for name, instruction in params.instructions.items()
        },
    }
    return Embedded(
        chunk_ids=[name for place, name in enumerate(chunk_ids) if place not in failed] if failed else chunk_ids,
        chunk_blocks=chunk_blocks,
        question_ids=question_ids,
        queries=query_vectors,
        failed={chunk_ids[place]: fault for place, fault in failed.items()},
        metrics=metrics,
    )


def _check_ids(ids: Sequence[str], what: str) -> None:
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise ValueError(f"{what} {twice!r}: the id is there more than once")


def _check_text(record: Record, key: str, what: str) -> None:
    if not isinstance(record[key], str) or not record[key].strip():
        raise ValueError(f"{what} {record['id']!r}: {key} must be a text that is not blank, found {record[key]!r}")


def _mean_cosine(queries: np.ndarray, chunks: np.ndarray) -> float | None:
    """How near questions (m, d) are to the chunks (m, d) that they were asked about; None if there is none."""
    if not len(queries):
        return None
    return float(np.einsum("nd,nd->n", queries.astype(np.float64), chunks.astype(np.float64)).mean())


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: chunks cut off by the model. The benchmark says what vectors are worth."""
    return {"embed": {"truncated": results["truncated_chunks"]}}


def main() -> None:
    """Reads chunks and selected questions, writes vectors, ids, metrics and timings of one model."""
    params = load(Params, "embed")
    params = replace(params, instructions=in_domain(params.instructions, read_param("domain")))
    if len(sys.argv) != 2 or sys.argv[1] not in params.models:
        raise ValueError(f"usage: python -m stages.embed MODEL, one of {params.models}; found {sys.argv[1:]}")
    name = sys.argv[1]
    watch = Stopwatch(f"embed_{name}")
    query_files = {instruction: OUT / f"{name}_{instruction}_query.npy" for instruction in params.instructions}
    check_declared(query_files.values(), "embed.instructions")
    chunks = iterate_jsonl(CORPORA[params.corpus], required=("id", "text", *params.tell))
    questions = read_jsonl(SELECTED, required=("id", "question", "chunk"))
    entry = load_model_entry(name)
    with (
        open_cluster(params.engine, lambda: load(RayParams, "ray")) as cluster,
        open_embedder(name, entry, by_workers(cluster, entry)) as embedder,
    ):
        found = embed(chunks, questions, embedder, params)
        watch.lap("embed")
        count = len(found.chunk_ids)
        write_rows(OUT / f"{name}_chunks.npy", found.chunk_blocks, count)
    write_json(OUT / f"{name}_chunks_ids.json", found.chunk_ids)
    for instruction, vectors in found.queries.items():
        write_array(query_files[instruction], vectors)
    write_json(OUT / f"{name}_query_ids.json", found.question_ids)
    write_metrics(f"embed_{name}", found.metrics, headline)
    watch.lap("write")
    watch.write(computed=embedder.computed)
    made = f"{count:,} chunk and {len(found.queries)} x {len(questions):,} query vectors"
    if found.failed:
        print(f"embed {name}: {len(found.failed):,} chunks have no vector and are not searched, the first of them:")
        print("\n".join(f"  {chunk}: {fault}" for chunk, fault in list(found.failed.items())[:SHOWN]))
    came, kept = count + len(found.failed) + len(questions), count + len(questions)
    embedded = check_counts(came, kept, {"failed": len(found.failed)})
    print(ending(f"embed {name}", embedded, "texts", made, OUT))


if __name__ == "__main__":
    main()
