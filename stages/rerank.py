"""embeddings, chunks, selected questions -> {embedding}_{reranker}_{instruction}_reranking.jsonl: top-k, then reranked.

Run: python -m stages.rerank EMBEDDING RERANKER INSTRUCTION

Each question's `top_k` chunks are found exactly by dot product. The first `depth` of them are
read by the reranker together with the question and sorted by its score, or by a weighted sum
of its score and the embedding's; those below keep their dense order.
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("rerank", ["search", "rerank", "write"])

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.core.metrics import Stopwatch, check_counts, ending, write_metrics
from stages.lib.core.params import load, load_prompts, read_param
from stages.lib.core.records import Record, read_jsonl, write_jsonl
from stages.lib.core.telling import check_tell, told_text
from stages.lib.llm.asking import open_model
from stages.lib.llm.in_flight import top_reasons
from stages.lib.reranking.pair_scores import PairScores, QueryDocument, Reranker
from stages.lib.reranking.rerankers import ASKING_METHODS, PROMPTS, asking_reranker, open_encoder_reranker
from stages.lib.search import embedding_files as stored
from stages.lib.search.fusion import Fusion, fuse
from stages.lib.search.top_k import TopK, exact_top_k
from stages.lib.spread.cluster import Engine, RayParams, open_cluster
from stages.lib.spread.language_models import by_workers as asked_by
from stages.lib.spread.pair_scores import by_workers as scored_by
from stages.lib.weights.models import load_model_entry

CHUNKS = Path("data/chunks/chunks.jsonl")
SELECTED = Path("data/selected/qa_selected.jsonl")
MOST_FAILED = 0.5  # share of pairs without a score from which on there is no reranking
OVERLAP_AT = 5  # first chunks that are compared before and after
FUSED_DECIMALS = 6


@dataclass(frozen=True, kw_only=True)
class Depth:
    """How many of the top_k chunks each method reads, >= 1."""

    cross_encoder: int
    yes_no: int
    late_interaction: int
    likelihood: int


@dataclass(frozen=True, kw_only=True)
class DenseWeight:
    """The embedding's share in the final score of each method, 0..1; 0: the reranker alone decides."""

    cross_encoder: float
    yes_no: float
    late_interaction: float
    likelihood: float


@dataclass(frozen=True, kw_only=True)
class Params:
    """The `rerank:` section."""

    rerankers: list[str]  # names of models: entries; their rerank_method says how
    instructions: list[str]  # of embed.instructions: the query vectors whose candidates are reranked
    top_k: int  # candidates per question, >= 1
    depth: Depth
    dense_weight: DenseWeight
    fusion: Fusion  # how the two scores come to one scale where dense_weight > 0
    rrf_k: int  # constant of fusion reciprocal_rank: the greater, the less the first ranks stand out
    late_interaction_idf: bool  # weigh a question's tokens by how rare they are among the chunks
    engine: Engine = "local"  # who scores: this process, or the workers of a Ray cluster (section ray)

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise ValueError(f"top_k {self.top_k} is below 1")
        if self.rrf_k < 0:
            raise ValueError(f"rrf_k {self.rrf_k} is below 0")
        for method, depth in asdict(self.depth).items():
            if depth < 1:
                raise ValueError(f"depth.{method} {depth} is below 1")
        for method, weight in asdict(self.dense_weight).items():
            if not 0.0 <= weight <= 1.0:
                raise ValueError(f"dense_weight.{method} {weight} is outside 0..1")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What is searched: N embedded chunks."""

    ids: list[str]
    texts: list[str]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The params of one method."""

    depth: int
    dense_weight: float
    fusion: Fusion
    rrf_k: int


def rerank(
    questions: Sequence[Record], corpus: Corpus, found: TopK, *, reranker: Reranker, settings: Settings, progress: str
) -> tuple[list[Record], dict[str, Any]]:
    """Returns one record per question, its candidates best first, and the metrics.

    Args:
        questions: records with id and question, one per row of `found`.
        corpus: the chunks that `found` points to.
        found: (q, k) candidates in dense order.
        reranker: scores pairs.
        settings: how many candidates it reads, and how its score counts.
        progress: names the progress bar.

    Raises:
        ValueError: most pairs have no score, because their requests failed.
    """
    depth = min(settings.depth, found.indices.shape[1])
    pairs = [
        QueryDocument(question["question"], corpus.texts[chunk])
        for question, chunks in zip(questions, found.indices, strict=True)
        for chunk in chunks[:depth]
    ]
    scored = reranker.score(pairs, progress=progress)
    if scored.errors:
        told = f"{progress}: {len(scored.errors)} of {len(pairs)} pairs failed: {top_reasons(scored.errors)}"
        if len(scored.errors) > MOST_FAILED * len(pairs):
            raise ValueError(told)
        print(f"{told}; they stand behind those that were read", file=sys.stderr)
    failed = np.isnan(scored.values)
    lowest = 0.0 if failed.all() else float(np.nanmin(scored.values))
    scores = np.where(failed, lowest, scored.values).reshape(len(questions), depth)  # (q, depth)
    records = [
        {
            "query": question["id"],
            "candidates": _candidates([corpus.ids[chunk] for chunk in chunks], dense, row, settings),
        }
        for question, chunks, dense, row in zip(questions, found.indices, found.scores, scores, strict=True)
    ]
    for place in np.flatnonzero(failed):  # what no model gave is not told as a model's
        records[place // depth]["candidates"] = [
            candidate | {"model_score": None} if candidate["dense_rank"] == place % depth + 1 else candidate
            for candidate in records[place // depth]["candidates"]
        ]
    return records, _metrics(records, scored, depth, len(corpus.ids))


def _candidates(chunks: list[str], dense: np.ndarray, scores: np.ndarray, settings: Settings) -> list[Record]:
    """One question's k candidates, given in dense order, in their new order; ties go by dense rank."""
    depth = len(scores)
    final = scores
    if settings.dense_weight > 0:
        final = fuse(scores, dense[:depth], settings.dense_weight, settings.fusion, rrf_k=settings.rrf_k)
        final = final.round(FUSED_DECIMALS)
    order = [*np.argsort(-final, kind="stable").tolist(), *range(depth, len(chunks))]
    return [
        {
            "chunk": chunks[i],
            "dense_score": float(dense[i]),
            "dense_rank": i + 1,
            "rerank_score": float(final[i]) if i < depth else None,  # null: not read, kept in dense order
            "rerank_rank": rank,
            "model_score": float(scores[i]) if i < depth else None,  # the reranker's own, before fusion
        }
        for rank, i in enumerate(order, start=1)
    ]


def _metrics(records: Sequence[Record], scored: PairScores, depth: int, chunks: int) -> dict[str, Any]:
    candidates = sum(len(record["candidates"]) for record in records)
    read = depth * len(records) - len(scored.errors)
    dropped = {"below_depth": candidates - depth * len(records)}
    if scored.errors:
        dropped["failed_request"] = len(scored.errors)
    first = [record["candidates"][0]["dense_rank"] for record in records]
    at = min(OVERLAP_AT, depth)
    overlap = [sum(one["dense_rank"] <= at for one in record["candidates"][:at]) / at for record in records]
    moves = [abs(one["dense_rank"] - one["rerank_rank"]) for record in records for one in record["candidates"][:depth]]
    return {
        "queries": len(records),
        "chunks": chunks,
        "candidates": check_counts(candidates, read, dropped),
        "truncated_pairs": scored.truncated,
        "top1_changed_share": sum(rank != 1 for rank in first) / len(records),
        f"mean_overlap_at_{at}": sum(overlap) / len(records),
        "mean_rank_change": sum(moves) / len(moves),
    }


def main() -> None:
    """Reads the embeddings and texts, reranks, writes the candidates and the metrics.

    Raises:
        ValueError: wrong arguments or params, or files that do not go together.
    """
    if len(sys.argv) != 4:
        raise ValueError("usage: python -m stages.rerank EMBEDDING RERANKER INSTRUCTION")
    embedding, name, instruction = sys.argv[1:]
    params = load(Params, "rerank")
    if name not in params.rerankers:
        raise ValueError(f"{name!r} is not one of rerank.rerankers {params.rerankers}")
    if instruction not in params.instructions:
        raise ValueError(f"{instruction!r} is not one of rerank.instructions {params.instructions}")
    entry = load_model_entry(name)
    tell = check_tell(read_param("embed.tell"), "embed.tell")  # a chunk is reranked as it was embedded
    prompts = load_prompts(PROMPTS, domain=read_param("domain"))
    title = f"rerank_{embedding}_{name}_{instruction}"
    watch = Stopwatch(title)

    texts = {chunk["id"]: told_text(chunk, tell) for chunk in read_jsonl(CHUNKS, ["id", "text", *tell])}
    questions = read_jsonl(SELECTED, ["id", "question"])
    ids = stored.read_corpus_ids([embedding], texts)
    vectors = stored.read_vectors(embedding, len(ids))
    queries = stored.read_queries(embedding, instruction, [one["id"] for one in questions], vectors.shape[1])
    found = exact_top_k(queries, vectors, params.top_k, ids)
    corpus = Corpus(ids=ids, texts=[texts[chunk] for chunk in ids])
    watch.lap("search")

    settings = Settings(
        depth=asdict(params.depth)[entry.rerank_method],
        dense_weight=asdict(params.dense_weight)[entry.rerank_method],
        fusion=params.fusion,
        rrf_k=params.rrf_k,
    )
    with ExitStack() as stack:
        cluster = stack.enter_context(open_cluster(params.engine, lambda: load(RayParams, "ray")))
        reranker: Reranker
        if entry.rerank_method in ASKING_METHODS:
            reranker = asking_reranker(stack.enter_context(open_model(entry, asked_by(cluster))), prompts)
        else:
            weighing = corpus.texts if params.late_interaction_idf else None
            scored_by_workers = scored_by(cluster, entry)
            reranker = stack.enter_context(open_encoder_reranker(entry, weighing, scored_by_workers))
        records, metrics = rerank(
            questions, corpus, found, reranker=reranker, settings=settings, progress=f"rerank {name}"
        )
    watch.lap("rerank")

    file = stored.RERANKING / f"{embedding}_{name}_{instruction}_reranking.jsonl"
    write_jsonl(file, records)
    write_metrics(title, {"method": entry.rerank_method, **metrics})  # its worth is a metric of the benchmark
    watch.write(pairs=metrics["candidates"]["kept"])
    made = f"{len(records):,} reranked lists"
    print(ending(f"rerank {embedding} {name} {instruction}", metrics["candidates"], "candidates", made, file))


if __name__ == "__main__":
    main()
