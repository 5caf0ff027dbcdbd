"""chunks, questions, embeddings, rerankings, runs -> benchmark_results: which system finds the answering chunk.

What stage retriever trained is measured beside all others on the held-out questions alone (held_out.csv).
Run: python -m stages.benchmark
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("benchmark", ["read", "retrieve and measure", "statistics", "draw", "write"])

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.lib.core.metrics import Stopwatch, all_kept, ending, write_metrics
from stages.lib.core.params import PARAMS_FILE, load, read_param
from stages.lib.core.records import Record, read_jsonl, write_csv
from stages.lib.core.telling import Tell, check_tell, told_text
from stages.lib.ranking import plots, rankings, report
from stages.lib.ranking.grid import Grid, read_grid
from stages.lib.ranking.held_out import on_questions, read_runs
from stages.lib.ranking.measures import measure_names, query_measures
from stages.lib.ranking.qrels import Relevant, relevant_chunks, same_words_groups
from stages.lib.ranking.rankings import Ranking
from stages.lib.ranking.report import System, Values
from stages.lib.search.bm25 import BM25
from stages.lib.search.embedding_files import read_corpus_ids, read_queries, read_reranking, read_vectors

CHUNKS = Path("data/chunks/chunks.jsonl")
SELECTED = Path("data/selected/qa_selected.jsonl")
OUTPUT = Path("data/benchmarks")
BM25_NAME = "bm25"


@dataclass(frozen=True, kw_only=True)
class Params:
    """The `benchmark` section of params.yaml."""

    cutoffs: list[int]  # the k of accuracy@k, ascending
    headline_k: int  # the one k of the plot over dimensions; one of cutoffs
    dimensions: list[int]  # Matryoshka dimensions; those above a model's size are skipped and named
    depth: int  # chunks of each ranking that are looked at (trec_eval -M)
    count_overlaps: bool  # chunks of the same document that hold the whole supporting span are right too
    rrf_k: int  # constant of reciprocal rank fusion of a dense ranking with BM25's
    bm25_k1: float  # word saturation, > 0
    bm25_b: float  # length normalisation, 0..1
    bootstrap_samples: int  # resamples of the queries, and random signs of the paired test
    seed: int  # of both

    def __post_init__(self) -> None:
        for name, values in (("cutoffs", self.cutoffs), ("dimensions", self.dimensions)):
            if not values or values != sorted(set(values)) or values[0] < 1:
                raise ValueError(f"{name}: {values!r} must be positive, ascending and without repetition")
        if self.headline_k not in self.cutoffs:
            raise ValueError(f"headline_k: {self.headline_k} is not one of cutoffs {self.cutoffs}")
        if self.depth < max(self.cutoffs[-1], 10):
            raise ValueError(f"depth: {self.depth} is less than the largest of cutoffs, or than the 10 of nDCG@10")
        if self.rrf_k < 0 or self.bm25_k1 <= 0 or not 0 <= self.bm25_b <= 1:
            raise ValueError(f"rrf_k {self.rrf_k}, bm25_k1 {self.bm25_k1}, bm25_b {self.bm25_b}: out of range")
        if self.bootstrap_samples < 100:
            raise ValueError(f"bootstrap_samples: {self.bootstrap_samples} is too few for a 95% interval (100 or more)")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """All that is retrieved from and with; N chunks and Q questions, chunks in tie order but where said."""

    ids: list[str]  # (N,) of the chunks
    texts: list[str]  # (N,)
    questions: list[Record]  # (Q,)
    relevant: Relevant
    stored: list[str]  # (N,) the ids in the order of the vectors' files
    documents: dict[str, npt.NDArray[np.float32]]  # model -> (N, H), mapped files, in their order
    queries: dict[tuple[str, str], npt.NDArray[np.float32]]  # model, instruction -> (Q, H)
    reranked: dict[tuple[str, str, str], list[Ranking]] = field(default_factory=dict)  # model, reranker, instruction

    @cached_property
    def columns(self) -> dict[str, int]:
        """The column of each chunk."""
        return {name: column for column, name in enumerate(self.ids)}

    @cached_property
    def columns_of_stored(self) -> npt.NDArray[np.int64]:
        """(N,) the column of each row of the vectors' files."""
        return np.array([self.columns[name] for name in self.stored], dtype=np.int64)


def measure(found: Sequence[Ranking], inputs: Inputs, top_k: Sequence[int]) -> Values:
    """The measures of each query, (Q, M), of one ranking a query."""
    rows = []
    for question, ranking in zip(inputs.questions, found, strict=True):
        relevant = inputs.relevant.qrels[question["id"]]
        gains = np.isin(ranking, [inputs.columns[name] for name in relevant]).astype(np.int64)
        rows.append(list(query_measures(gains, list(relevant.values()), top_k).values()))
    return np.array(rows)


def build_systems(inputs: Inputs, params: Params) -> list[System]:
    """Runs and measures BM25, then for each embedding and instruction: dense, reranked, fused with BM25, truncated."""
    with progress.bar("rankings", 1 + len(inputs.queries), "embedding") as counter:
        index = BM25(inputs.texts, k1=params.bm25_k1, b=params.bm25_b)
        asked = [question["question"] for question in inputs.questions]
        sparse = rankings.rank_sparse(index.each_scores(asked), params.depth)
        systems = [System(name=BM25_NAME, method="bm25", values=measure(sparse, inputs, params.cutoffs))]
        counter.update()
        for model, instruction in inputs.queries:
            systems += systems_of(model, instruction, sparse, inputs, params)
            counter.update()
    return systems


def systems_of(
    model: str, instruction: str, sparse: Sequence[Ranking], inputs: Inputs, params: Params
) -> Iterator[System]:
    """The dense system of an embedding and instruction, and those that are made from it."""
    queries, documents = inputs.queries[model, instruction], inputs.documents[model]
    name, size = f"{model}_{instruction}", documents.shape[1]

    def system(name: str, method: str, found: Sequence[Ranking], **differences: Any) -> System:
        row: dict[str, Any] = {"embedding": model, "instruction": instruction, "dimension": size, **differences}
        return System(name=name, method=method, **row, values=measure(found, inputs, params.cutoffs))

    def ranked(dimension: int) -> list[Ranking]:
        columns, depth = inputs.columns_of_stored, params.depth
        return rankings.rank_dense(queries, documents, inputs.stored, columns, dimension=dimension, depth=depth)

    dense = ranked(size)
    yield system(name, "dense", dense)
    for (embedding, reranker, asked), candidates in inputs.reranked.items():
        if (embedding, asked) == (model, instruction):
            reranked = [rankings.put_first(new, old) for new, old in zip(candidates, dense, strict=True)]
            yield system(f"{name}_{reranker}", "reranked", reranked, reranker=reranker)
    fused = rankings.fuse_rankings(dense, sparse, len(inputs.ids), params.rrf_k, params.depth)
    yield system(f"{name}_{BM25_NAME}-rrf", "fused", fused)
    for dimension in params.dimensions:
        if dimension < size:
            yield system(f"{name}_{dimension}", "dense", ranked(dimension), dimension=dimension, full=False)


def held_out_systems(systems: Sequence[System], inputs: Inputs, grid: Grid, params: Params) -> list[System]:
    """All systems on the held-out questions, and those that were trained on the others; none without such questions.

    Raises:
        ValueError: runs that are missing, or of questions that are no longer selected.
    """
    runs = read_runs(grid.trained, inputs.columns)
    kept = next(iter(runs.values()), {})
    if not kept:
        return []
    questions = [question for question in inputs.questions if question["id"] in kept]
    if len(questions) < len(kept):
        raise ValueError("data/retriever: runs of questions that are not selected; run retriever again")
    asked = replace(inputs, questions=questions)
    trained = [
        System(
            name=name,
            method=method,
            values=measure([found[question["id"]][: params.depth] for question in questions], asked, params.cutoffs),
        )
        for (name, method), found in runs.items()
    ]
    return [*on_questions(systems, [question["id"] for question in inputs.questions], kept), *trained]


def skipped_dimensions(inputs: Inputs, params: Params) -> dict[str, list[int]]:
    """The dimensions above each model's size."""
    return {
        model: [dimension for dimension in params.dimensions if dimension > vectors.shape[1]]
        for model, vectors in inputs.documents.items()
    }


def summarise(rows: Sequence[Record], held_out: Sequence[Record], inputs: Inputs, params: Params) -> dict[str, Any]:
    """The content of metrics/benchmark_results.json: the full-dimension systems; dimensions are in the CSV."""
    names = measure_names(params.cutoffs)
    return {
        "corpus": len(inputs.ids),
        "queries": len(inputs.questions),
        "relevant": inputs.relevant.origins,
        "questions_without_support": inputs.relevant.without_support,
        "depth": params.depth,
        "skipped_dimensions": skipped_dimensions(inputs, params),
        "headline_k": params.headline_k,
        "best_by_mrr": best_by_mrr(rows),
        "systems": {row["system"]: {name: row[name] for name in names} for row in rows if row["full_dimension"]},
        "held_out": {
            "queries": held_out[0]["queries"] if held_out else 0,
            "systems": {row["system"]: {name: row[name] for name in names} for row in held_out},
        },
    }


def best_by_mrr(rows: Sequence[Record]) -> dict[str, str]:
    """Method -> its system with the best MRR at full dimension, the first of equals, whatever systems there are."""
    best: dict[str, Record] = {}
    for row in rows:
        if row["full_dimension"] and (row["method"] not in best or row["mrr"] > best[row["method"]]["mrr"]):
            best[row["method"]] = row
    return {method: row["system"] for method, row in best.items()}


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: the best system and the best MRR of each method, however many systems."""
    systems, best = results["systems"], results["best_by_mrr"]
    first = max(best.values(), key=lambda name: systems[name]["mrr"])
    accuracy = f"accuracy_at_{results['headline_k']}"
    return {
        "benchmark": {
            "best": first,
            accuracy: systems[first][accuracy],
            **{f"{method}_mrr": systems[name]["mrr"] for method, name in best.items()},
        }
    }


def read_inputs(grid: Grid, count_overlaps: bool, tell: Sequence[Tell]) -> Inputs:
    """Reads what the stages before wrote and checks that it belongs together; `tell`: what stands before a text.

    Raises:
        ValueError: names the file that is missing or does not fit the others, and what to run again.
    """
    chunks = {chunk["id"]: chunk for chunk in read_jsonl(CHUNKS, ["id", "document", "start", "end", "text", *tell])}
    groups = same_words_groups(chunks.values())
    questions = read_jsonl(SELECTED, ["id", "chunk", "question", "support"])
    stored = read_corpus_ids(grid.embeddings, known=chunks.keys())
    relevant = relevant_chunks(questions, chunks, groups, set(stored), count_overlaps)
    ids = [stored[i] for i in rankings.tie_order(stored)]
    question_ids = [question["id"] for question in questions]
    documents = {model: read_vectors(model, len(stored)) for model in grid.embeddings}
    queries = {
        (model, instruction): read_queries(model, instruction, question_ids, documents[model].shape[1])
        for model in grid.embeddings
        for instruction in grid.instructions
    }
    columns = {name: column for column, name in enumerate(ids)}
    reranked = {
        (model, reranker, instruction): read_reranking(model, reranker, instruction, question_ids, columns)
        for model in grid.embeddings
        for reranker in grid.rerankers
        for instruction in grid.reranked_instructions
    }
    return Inputs(
        ids=ids,
        texts=[told_text(chunks[name], tell) for name in ids],
        questions=questions,
        relevant=relevant,
        stored=stored,
        documents=documents,
        queries=queries,
        reranked=reranked,
    )


def main() -> None:
    """Reads all inputs, measures every system and writes the tables, the metrics and the picture."""
    watch = Stopwatch("benchmark")
    params = load(Params, "benchmark")
    grid = read_grid(PARAMS_FILE)
    tell = check_tell(read_param("embed.tell"), "embed.tell")  # BM25 reads what the embeddings read
    inputs = read_inputs(grid, params.count_overlaps, tell)
    watch.lap("read")
    systems = build_systems(inputs, params)
    kept = held_out_systems(systems, inputs, grid, params)
    watch.lap("retrieve and measure")
    rows = report.tabulate(systems, params.cutoffs, params.bootstrap_samples, params.seed)
    held_out = report.tabulate(kept, params.cutoffs, params.bootstrap_samples, params.seed) if kept else []
    watch.lap("statistics")
    over_k = report.accuracy_over_k(rows, params.cutoffs)
    over_dimension = report.accuracy_over_dimension(rows, params.headline_k)
    caption = f"{len(inputs.questions)} questions, {len(inputs.ids):,} chunks, 95% bootstrap intervals over questions"
    plots.draw(OUTPUT / "benchmark.png", rows, over_k, over_dimension, headline_k=params.headline_k, caption=caption)
    watch.lap("draw")
    write_csv(OUTPUT / "benchmark_results.csv", rows)
    write_csv(OUTPUT / "held_out.csv", held_out)
    write_csv(OUTPUT / "accuracy_at_k.csv", over_k)
    write_csv(OUTPUT / "accuracy_by_dimension.csv", over_dimension)
    write_metrics("benchmark_results", summarise(rows, held_out, inputs, params), headline)
    watch.write()
    for model, skipped in skipped_dimensions(inputs, params).items():
        if skipped:
            print(f"{model} has {inputs.documents[model].shape[1]} dimensions; skipped: {', '.join(map(str, skipped))}")
    print(report.to_text(rows, params.headline_k))
    if kept:
        print(f"On the {len(kept[0].values)} questions about documents that no training of stage retriever saw:")
        print(report.to_text(held_out, params.headline_k))
    made = f"{len(rows)} systems, table and picture,"
    print(ending("benchmark", all_kept(len(inputs.questions)), "questions", made, OUTPUT))


if __name__ == "__main__":
    main()
