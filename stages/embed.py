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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stages.lib.core.metrics import Stopwatch, all_kept, ending, write_metrics
from stages.lib.core.params import in_domain, load, read_param
from stages.lib.core.records import Record, read_jsonl, write_array, write_json
from stages.lib.core.telling import Tell, check_tell, title_of, told_text
from stages.lib.core.tracked import check_declared
from stages.lib.embedding.embedders import Embedder, open_embedder
from stages.lib.weights.models import load_model_entry

Corpus = Literal["all", "deduplicated"]
CORPORA: dict[Corpus, Path] = {
    "all": Path("data/chunks/chunks.jsonl"),
    "deduplicated": Path("data/chunks/chunks_dedu.jsonl"),
}
SELECTED = Path("data/selected/qa_selected.jsonl")
OUT = Path("data/embeddings")


@dataclass(frozen=True, kw_only=True)
class Params:
    """The `embed:` section."""

    models: list[str]  # names of models: entries; one process each
    instructions: dict[str, str]  # name -> text put to each query; "" leaves the query alone
    corpus: Corpus  # what is searched: every chunk, or those that dedup kept
    tell: list[Tell]  # what stands before a chunk's text where it is searched: embedded, reranked, counted by BM25

    def __post_init__(self) -> None:
        if not self.models or not self.instructions:
            raise ValueError("models and instructions must each name at least one")
        check_tell(self.tell, "embed.tell")
        for name in self.instructions:
            if not re.fullmatch(r"[a-z0-9_]+", name):
                raise ValueError(f"instructions.{name}: a name is lower-case letters, digits and underscores")


def embed(
    chunks: list[Record], questions: list[Record], embedder: Embedder, params: Params
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, Any]]:
    """Returns the chunks' vectors (n, d), the questions' vectors (q, d) by instruction, and the metrics.

    Raises:
        ValueError: no chunks or no questions, an id twice, or a vector that is not finite.
    """
    chunk_ids, _ = _column(chunks, "text", "chunk")
    texts = [told_text(chunk, params.tell) for chunk in chunks]
    titles = [title_of(chunk) for chunk in chunks] if embedder.templates.titled else None
    question_ids, asked = _column(questions, "question", "selected question")
    if not questions:
        raise ValueError(
            f"{SELECTED}: no selected questions, so nothing to search for; see {SELECTED.parent}/funnel.csv"
        )
    progress = f"embed chunks {embedder.name}"
    chunk_vectors = embedder.encode_documents(texts, progress, ids=chunk_ids, titles=titles)
    query_vectors = {
        name: embedder.encode_queries(asked, instruction, progress=f"embed {name} {embedder.name}", ids=question_ids)
        for name, instruction in params.instructions.items()
    }
    truncated = embedder.count_truncated(texts, titles)
    row = {chunk: i for i, chunk in enumerate(chunk_ids)}
    own = [(i, row[question["chunk"]]) for i, question in enumerate(questions) if question["chunk"] in row]
    metrics = {
        "corpus": params.corpus,
        "chunks": len(texts),
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
                "mean_cosine_to_own_chunk": _mean_cosine(query_vectors[name], chunk_vectors, own),
            }
            for name, instruction in params.instructions.items()
        },
    }
    return chunk_vectors, query_vectors, metrics


def _column(records: list[Record], key: str, what: str) -> tuple[list[str], list[str]]:
    """The ids and the texts of records."""
    ids = [record["id"] for record in records]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise ValueError(f"{what} {twice!r}: the id is there more than once")
    for record in records:
        if not isinstance(record[key], str) or not record[key].strip():
            raise ValueError(f"{what} {record['id']!r}: {key} must be a text that is not blank, found {record[key]!r}")
    return ids, [record[key] for record in records]


def _mean_cosine(queries: np.ndarray, chunks: np.ndarray, pairs: Sequence[tuple[int, int]]) -> float | None:
    """How near questions are to the chunks that they were asked about; None if no such chunk is in the corpus."""
    if not pairs:
        return None
    rows, columns = np.array(pairs).T
    return float(np.einsum("nd,nd->n", queries[rows].astype(np.float64), chunks[columns].astype(np.float64)).mean())


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
    chunks = read_jsonl(CORPORA[params.corpus], required=("id", "text", *params.tell))
    questions = read_jsonl(SELECTED, required=("id", "question", "chunk"))
    if not chunks:
        raise ValueError(f"{CORPORA[params.corpus]}: no chunks")
    with open_embedder(name, load_model_entry(name)) as embedder:
        chunk_vectors, query_vectors, metrics = embed(chunks, questions, embedder, params)
    watch.lap("embed")
    write_array(OUT / f"{name}_chunks.npy", chunk_vectors)
    write_json(OUT / f"{name}_chunks_ids.json", [chunk["id"] for chunk in chunks])
    for instruction, vectors in query_vectors.items():
        write_array(query_files[instruction], vectors)
    write_json(OUT / f"{name}_query_ids.json", [question["id"] for question in questions])
    write_metrics(f"embed_{name}", metrics, headline)
    watch.write(computed=embedder.computed)
    texts = all_kept(len(chunks) + len(questions))
    made = f"{len(chunks):,} chunk and {len(query_vectors)} x {len(questions):,} query vectors"
    print(ending(f"embed {name}", texts, "texts", made, OUT))


if __name__ == "__main__":
    main()
