"""chunks.jsonl -> chunks_dedu.jsonl: near-duplicates out, automatically or after asking a language model.

Run: python -m stages.dedup

Every pair of chunks whose cosine is at or above a model's floor is found, exactly. At or above
`automatic` it is a duplicate; in the band below, a language model decides. One chunk of a group
stays: each that goes is itself a duplicate of the one that stays (no chains). The pair files say
for every pair what became of it and why.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.llm.asking import open_model
from stages.lib.llm.duplication import PROMPT, Verdict, judge_pairs
from stages.lib.metrics import Stopwatch, check_counts, write_metrics
from stages.lib.params import load, load_prompts
from stages.lib.records import Record, read_jsonl, write_jsonl
from stages.lib.retrieval.embedders import open_embedder
from stages.lib.retrieval.groups import diameter, group_members, star_groups
from stages.lib.retrieval.near_pairs import near_pairs

CHUNKS = Path("data/chunks/chunks.jsonl")
KEPT = Path("data/chunks/chunks_dedu.jsonl")
PAIRS_DIR = Path("data/deduplication")
COSINE_DECIMALS = 9
Pair = tuple[int, int]  # positions of two chunks, the smaller first


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Cosines of one embedding model; scales differ from model to model."""

    automatic: float  # from here on a pair is a duplicate, -1..1
    floor: float  # from here on up to `automatic` a language model is asked

    def __post_init__(self) -> None:
        if not -1 <= self.floor <= self.automatic:
            raise ValueError(f"floor {self.floor} must lie in -1..automatic ({self.automatic})")


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `dedup` of params.yaml."""

    models: list[str]  # embedding models; a pair that one of them finds is a duplicate
    thresholds: dict[str, Thresholds]  # by embedding model
    judge: str  # the language model that is asked about the band
    max_tokens: int  # of its reply (rating)
    likelihood_gain: float  # from which gain on a pair counts as duplicates (likelihood), 0..1
    memory_mb: int  # working memory of the search, beside the vectors
    max_pairs: int  # more pairs than this mean that a floor is too low
    sample: int  # kept chunks that are asked about in qa; 0: all
    seed: int  # of the sample

    def __post_init__(self) -> None:
        for model in self.models:
            if model not in self.thresholds:
                raise ValueError(f"thresholds: none for {model!r}; there are {sorted(self.thresholds)}")
        if not self.models or self.sample < 0:
            raise ValueError("models must name at least one, and sample must not be negative")


def decide(
    found: Mapping[str, Mapping[Pair, float]], verdicts: Mapping[Pair, Verdict], params: Params
) -> dict[str, dict[Pair, str]]:
    """For each model and pair: auto, judged_duplicate, judged_distinct or judge_failed."""
    names = {True: "judged_duplicate", False: "judged_distinct", None: "judge_failed"}
    return {
        model: {
            pair: "auto" if cosine >= params.thresholds[model].automatic else names[verdicts[pair].duplicate]
            for pair, cosine in cosines.items()
        }
        for model, cosines in found.items()
    }


def band(found: Mapping[str, Mapping[Pair, float]], params: Params) -> list[Pair]:
    """The pairs to ask about, in order: in the band of some model."""
    asked = {
        pair
        for model, cosines in found.items()
        for pair, cosine in cosines.items()
        if cosine < params.thresholds[model].automatic
    }
    return sorted(asked)


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
    cosines: Mapping[Pair, float],
    decisions: Mapping[Pair, str],
    verdicts: Mapping[Pair, Verdict],
    representative: Sequence[int],
) -> list[Record]:
    """One line a pair: its cosine, what was decided, who went for whom, and why."""
    records = []
    for (a, b), cosine in sorted(cosines.items()):
        decision = decisions[a, b]
        verdict = None if decision == "auto" else verdicts[a, b].why
        removed, kept, reason = None, None, "not a duplicate"
        if decision == "judge_failed":
            reason = "no verdict, so both stay as far as this pair goes"
        elif decision in ("auto", "judged_duplicate"):
            cause = "cosine at or above automatic" if decision == "auto" else "judged to say the same"
            if representative[a] == b:
                removed, kept, reason = chunks[a]["id"], chunks[b]["id"], cause
            elif representative[b] == a:
                removed, kept, reason = chunks[b]["id"], chunks[a]["id"], cause
            else:
                reason = f"{cause}; decided by a pair with another chunk"
        records.append(
            {"a": chunks[a]["id"], "b": chunks[b]["id"], "cosine": round(cosine, COSINE_DECIMALS)}
            | {"decision": decision, "verdict": verdict, "removed": removed, "kept": kept, "reason": reason}
        )
    return records


def summary(
    chunks: Sequence[Record],
    decisions: Mapping[str, Mapping[Pair, str]],
    representative: Sequence[int],
    vectors: Mapping[str, np.ndarray],
    kept: Sequence[Record],
) -> dict[str, Any]:
    """The metrics: chunks in = kept + dropped by what decided, pairs by decision, groups and their diameter."""
    automatic = {pair for found in decisions.values() for pair, decision in found.items() if decision == "auto"}
    dropped: Counter[str] = Counter()
    for i, head in enumerate(representative):
        if head != i:
            dropped["automatic" if (min(i, head), max(i, head)) in automatic else "judged"] += 1
    groups = group_members(representative)
    widths = {
        model: max((diameter(array, group) for group in groups.values()), default=0.0)
        for model, array in vectors.items()
    }
    return {
        "chunks": check_counts(len(chunks), len(kept), dict(dropped)),
        "pairs": {model: dict(sorted(Counter(found.values()).items())) for model, found in decisions.items()},
        "groups": len(groups),
        "largest_group": max(map(len, groups.values()), default=0),
        "group_diameter": widths,
        "sampled": sum(chunk["sampled"] for chunk in kept),
    }


def main() -> None:
    """Reads params.yaml and chunks.jsonl; writes chunks_dedu.jsonl, the pair files and metrics/dedup.json."""
    params = load(Params, "dedup")
    watch = Stopwatch("dedup")
    chunks = read_jsonl(CHUNKS, required=["id", "text"])
    texts = [chunk["text"] for chunk in chunks]
    vectors: dict[str, np.ndarray] = {}
    found: dict[str, dict[Pair, float]] = {}
    for name in params.models:
        with open_embedder(name) as embedder:
            vectors[name] = embedder.encode_documents(
                texts, progress=f"dedup {name}", ids=[chunk["id"] for chunk in chunks]
            )
        watch.lap("embed")
        pairs = near_pairs(
            vectors[name],
            params.thresholds[name].floor,
            memory_mb=params.memory_mb,
            max_pairs=params.max_pairs,
            progress="dedup pairs",
        )
        both = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
        found[name] = dict(zip(both, pairs.cosine.tolist(), strict=True))
        watch.lap("search")
    asked = band(found, params)
    verdicts: dict[Pair, Verdict] = {}
    if asked:
        with open_model(params.judge) as model:
            answers = judge_pairs(
                [(texts[a], texts[b]) for a, b in asked],
                model,
                prompt=load_prompts([PROMPT])[PROMPT],
                max_tokens=params.max_tokens,
                likelihood_gain=params.likelihood_gain,
                progress=f"dedup judge {params.judge}",
            )
        verdicts = dict(zip(asked, answers, strict=True))
    watch.lap("judge")
    decisions = decide(found, verdicts, params)
    duplicates = sorted(
        {
            pair
            for by_pair in decisions.values()
            for pair, decision in by_pair.items()
            if decision in ("auto", "judged_duplicate")
        }
    )
    representative = star_groups(len(chunks), duplicates, [len(text) for text in texts])
    kept = kept_chunks(chunks, representative, params)
    for name, cosines in found.items():
        write_jsonl(
            PAIRS_DIR / f"{name}_dedu.jsonl",
            pair_records(chunks, cosines, decisions[name], verdicts, representative),
        )
    write_jsonl(KEPT, kept)
    write_metrics("dedup", summary(chunks, decisions, representative, vectors, kept))
    watch.write(chunks=len(chunks), asked=len(asked))


if __name__ == "__main__":
    main()
