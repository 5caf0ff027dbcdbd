"""chunks.jsonl, near_pairs -> chunks_dedu.jsonl: near-duplicates out, automatically or after asking a language model.

Run: python -m stages.dedup

Near pairs were found by each embedding model (near_pairs). At or above its `automatic` a pair is a
duplicate; in the band below, a language model decides, asked about pairs of which both chunks are
still there. One chunk of a group stays, and each that goes is itself a
duplicate of the one that stays: of a chain A~B~C with A and C unlike, A never stands for C. The
pair files say for every pair what became of it and why.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from stages.lib.core.metrics import Stopwatch, check_counts, ending, write_metrics
from stages.lib.core.params import load, load_prompts, read_param
from stages.lib.core.records import Record, read_jsonl, write_jsonl
from stages.lib.llm.asking import open_model
from stages.lib.near_duplicates.duplication import PROMPT, Verdict, judge_pairs
from stages.lib.near_duplicates.found_pairs import ChunkPair, FoundPairs, Thresholds, read_found
from stages.lib.near_duplicates.groups import diameter, group_members, star_groups
from stages.lib.weights.models import load_model_entry

CHUNKS = Path("data/chunks/chunks.jsonl")
KEPT = Path("data/chunks/chunks_dedu.jsonl")
PAIRS_DIR = Path("data/deduplication")
COSINE_DECIMALS = 9
Decision = Literal["auto", "judged_duplicate", "judged_distinct", "judge_failed", "not_asked"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `dedup` of params.yaml; thresholds, memory_mb and max_pairs are those of near_pairs."""

    models: list[str]  # embedding models; a pair that one of them finds is a duplicate
    thresholds: dict[str, Thresholds]  # by embedding model
    judge: str  # the language model that is asked about the band
    max_new_tokens: int  # of its reply (rating), >= 1
    excess_nats: float  # duplicates add no more than this to each other (likelihood), >= 0
    memory_mb: int  # working memory of the search, beside the vectors
    max_pairs: int  # more pairs than this mean that a floor is too low, >= 1
    sample: int  # kept chunks that qa asks about; 0: all
    seed: int  # of the sample

    def __post_init__(self) -> None:
        """Checks that every model has thresholds, and the ranges."""
        if not self.models or len(set(self.models)) < len(self.models):
            raise ValueError(f"models: each once and at least one, found {self.models}")
        for model in self.models:
            if model not in self.thresholds:
                raise ValueError(f"thresholds: none for {model!r}; there are {sorted(self.thresholds)}")
        if min(self.max_new_tokens, self.max_pairs) < 1 or min(self.sample, self.excess_nats) < 0:
            raise ValueError("max_new_tokens and max_pairs must be >= 1, sample and excess_nats >= 0")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was decided."""

    representative: list[int]  # of each chunk: itself where it stays
    decisions: dict[ChunkPair, Decision]  # of all pairs found, in order
    verdicts: dict[ChunkPair, Verdict]  # of the pairs asked about
    rounds: int  # of asking


def resolve(
    lengths: Sequence[int],
    found: Iterable[ChunkPair],
    automatic: Set[ChunkPair],
    ask: Callable[[list[ChunkPair]], list[Verdict]],
) -> Outcome:
    """Groups by the automatic pairs, asks about the others of which both chunks stay, and groups again, until all are.

    So the judge is not asked what is settled, and no two chunks stay that it would not have been asked about.

    Args:
        lengths: of each chunk's text; a group's longest chunk stays, other things being equal.
        found: all pairs at or above the floor.
        automatic: those of them that are duplicates.
        ask: gives the verdicts of pairs.
    """
    pairs = sorted(found)
    verdicts: dict[ChunkPair, Verdict] = {}
    rounds = 0
    while True:
        duplicates = [pair for pair in pairs if pair in automatic or (pair in verdicts and verdicts[pair].duplicate)]
        head = star_groups(len(lengths), duplicates, lengths)
        open_pairs = [
            (a, b)
            for a, b in pairs
            if (a, b) not in automatic and (a, b) not in verdicts and head[a] == a and head[b] == b
        ]
        if not open_pairs:
            break
        verdicts.update(zip(open_pairs, ask(open_pairs), strict=True))
        rounds += 1
    names: dict[bool | None, Decision] = {True: "judged_duplicate", False: "judged_distinct", None: "judge_failed"}
    decisions: dict[ChunkPair, Decision] = {
        pair: "auto" if pair in automatic else names[verdicts[pair].duplicate] if pair in verdicts else "not_asked"
        for pair in pairs
    }
    return Outcome(representative=head, decisions=decisions, verdicts=verdicts, rounds=rounds)


def sampled(ids: Sequence[str], size: int, seed: int) -> set[str]:
    """`size` of the ids (0: all), drawn by hash: a chunk more or less moves few others in or out."""
    order = sorted(ids, key=lambda chunk: hashlib.sha256(f"{seed} {chunk}".encode()).digest())
    return set(order[: size or len(order)])


def kept_chunks(chunks: Sequence[Record], representative: Sequence[int], params: Params) -> list[Record]:
    """The chunks that stay, each with the ids that went in its favour, and whether qa asks about it."""
    groups = group_members(representative)
    heads = [i for i, head in enumerate(representative) if head == i]
    chosen = sampled([chunks[i]["id"] for i in heads], params.sample, params.seed)
    return [
        chunks[i]
        | {
            "duplicates": [chunks[j]["id"] for j in groups.get(i, []) if j != i],
            "sampled": chunks[i]["id"] in chosen,
        }
        for i in heads
    ]


def pair_records(
    chunks: Sequence[Record],
    cosines: Mapping[ChunkPair, float],
    threshold: float,
    outcome: Outcome,
) -> list[Record]:
    """One line a pair of one model: its cosine, what was decided, which chunk went for which, and why.

    Args:
        chunks: all chunks.
        cosines: of the model's pairs.
        threshold: from which on they are automatic.
        outcome: what was decided.
    """
    records = []
    for (a, b), cosine in cosines.items():
        decision = outcome.decisions[a, b]
        verdict = outcome.verdicts.get((a, b))
        heads = outcome.representative[a], outcome.representative[b]
        reason = {
            "auto": f"cosine >= {threshold}" if cosine >= threshold else "automatic by another embedding model",
            "judged_duplicate": "the judge found them to say the same",
            "judged_distinct": "the judge found them to differ",
            "judge_failed": "no verdict, so neither goes for the other",
            "not_asked": "settled before: at least one of them is a duplicate of another chunk",
        }[decision]
        removed = kept = None
        if decision in ("auto", "judged_duplicate"):
            assert heads != (a, b), "of two duplicates one goes"
            if heads == (b, b):
                removed, kept = chunks[a]["id"], chunks[b]["id"]
            elif heads == (a, a):
                removed, kept = chunks[b]["id"], chunks[a]["id"]
            else:
                reason += "; who goes was settled by their pairs with other chunks"
        records.append(
            {"a": chunks[a]["id"], "b": chunks[b]["id"], "cosine": round(cosine, COSINE_DECIMALS)}
            | {"decision": decision, "verdict": verdict and verdict.why}
            | {"removed": removed, "kept": kept, "reason": reason}
        )
    return records


def summary(
    found: Mapping[str, FoundPairs],
    outcome: Outcome,
    kept: Sequence[Record],
) -> dict[str, Any]:
    """The metrics: chunks in = kept + dropped by what decided, pairs by decision, groups and their diameter."""
    dropped = {"auto": 0, "judged": 0}
    for i, head in enumerate(outcome.representative):
        if head != i:
            decision = outcome.decisions[min(i, head), max(i, head)]
            dropped["auto" if decision == "auto" else "judged"] += 1
    groups = group_members(outcome.representative)
    sizes = Counter(map(len, groups.values()))
    return {
        "chunks": check_counts(len(outcome.representative), len(kept), dropped),
        "pairs": {
            model: {"found": len(near.cosines)}
            | dict(sorted(Counter(outcome.decisions[pair] for pair in near.cosines).items()))
            for model, near in found.items()
        },
        "asked": len(outcome.verdicts),
        "rounds_of_asking": outcome.rounds,
        "groups": len(groups),
        "groups_by_size": {str(size): sizes[size] for size in sorted(sizes)},
        "group_diameter": {
            model: max((diameter(near.vectors, group) for group in groups.values()), default=0.0)
            for model, near in found.items()
        },
        "sampled": sum(chunk["sampled"] for chunk in kept),
    }


def dedup(
    chunks: Sequence[Record],
    found: Mapping[str, FoundPairs],
    ask: Callable[[list[ChunkPair]], list[Verdict]],
    params: Params,
) -> tuple[list[Record], dict[str, list[Record]], dict[str, Any]]:
    """Returns the chunks that stay, the pair records by embedding model, and the metrics.

    Args:
        chunks: records with id and text.
        found: embedding model -> its near pairs.
        ask: verdicts of pairs.
        params: section `dedup`.
    """
    pairs = {pair for near in found.values() for pair in near.cosines}
    automatic = {pair for near in found.values() for pair in near.automatic}
    outcome = resolve([len(chunk["text"]) for chunk in chunks], pairs, automatic, ask)
    kept = kept_chunks(chunks, outcome.representative, params)
    lines = {
        model: pair_records(chunks, near.cosines, near.thresholds.automatic, outcome) for model, near in found.items()
    }
    return kept, lines, summary(found, outcome, kept)


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: chunks that were removed."""
    return {"dedup": {"removed": results["chunks"]["in"] - results["chunks"]["kept"]}}


def main() -> None:
    """Reads params.yaml, chunks.jsonl and near pairs; writes chunks_dedu.jsonl, the pair files and the metrics."""
    params = load(Params, "dedup")
    watch = Stopwatch("dedup")
    chunks = read_jsonl(CHUNKS, required=["id", "text"])
    found = {model: read_found(model, [chunk["id"] for chunk in chunks]) for model in params.models}
    texts = [chunk["text"] for chunk in chunks]
    prompt = load_prompts([PROMPT], domain=read_param("domain"))[PROMPT]
    watch.lap("read")
    with ExitStack() as stack:
        judge = cache(lambda: stack.enter_context(open_model(load_model_entry(params.judge))))

        def ask(pairs: list[ChunkPair]) -> list[Verdict]:
            watch.lap("group")
            verdicts = judge_pairs(
                [(texts[a], texts[b]) for a, b in pairs],
                judge(),
                prompt=prompt,
                max_tokens=params.max_new_tokens,
                excess_nats=params.excess_nats,
                progress=f"dedup judge {params.judge}",
            )
            watch.lap("judge")
            return verdicts

        kept, lines, metrics = dedup(chunks, found, ask, params)
    for model, records in lines.items():
        write_jsonl(PAIRS_DIR / f"{model}_dedu.jsonl", records)
    write_jsonl(KEPT, kept)
    write_metrics("dedup", metrics, headline)
    watch.lap("write")
    watch.write(chunks=len(chunks), asked=metrics["asked"])
    made = f"{len(kept):,} chunks, {metrics['sampled']:,} of them to ask about,"
    print(ending("dedup", metrics["chunks"], "chunks", made, KEPT))


if __name__ == "__main__":
    main()
