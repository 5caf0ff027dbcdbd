"""chunks.jsonl, near_pairs -> chunks_dedu.jsonl: near-duplicates out, but none that states another fact.

Run: python -m stages.dedup

Chunks with the same words (equal but for case, markup, punctuation and white space) are one, and one of them
stays. Other near pairs were found by each embedding model (near_pairs). Where rules see that the two state
different facts (other numbers, names, signs, negations: lib/wording/facts.py; what stands in one place of many pages:
lib/wording/templates.py) both stay, without asking; about
the rest a language model decides, asked about pairs of which both chunks are still there. Nothing is
removed for its cosine alone. One chunk of a group stays, and each that goes is itself a duplicate of the one that
stays: of a chain A~B~C with A and C unlike, A never stands for C. The pair files say for every pair what became of
it and why, same_words.jsonl which chunk went for which of the same words.
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("dedup", ["read", "group", "judge", "write"])

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from stages.lib.core.metrics import Stopwatch, check_counts, ending, write_metrics
from stages.lib.core.params import load, load_prompts, read_param
from stages.lib.core.records import Record, read_jsonl, write_jsonl
from stages.lib.llm.asking import open_model
from stages.lib.llm.in_flight import top_reasons
from stages.lib.near_duplicates.duplication import PROMPT, Verdict, judge_pairs
from stages.lib.near_duplicates.found_pairs import ChunkPair, FoundPairs, check_search, read_found
from stages.lib.near_duplicates.groups import diameter, group_members, star_groups
from stages.lib.spread.cluster import Engine, RayParams, open_cluster
from stages.lib.spread.language_models import by_workers
from stages.lib.weights.models import load_model_entry
from stages.lib.wording.facts import other_fact
from stages.lib.wording.form import same_words
from stages.lib.wording.templates import template_pairs

CHUNKS = Path("data/chunks/chunks.jsonl")
KEPT = Path("data/chunks/chunks_dedu.jsonl")
PAIRS_DIR = Path("data/deduplication")
COSINE_DECIMALS = 9
SAME_WORDS = PAIRS_DIR / "same_words.jsonl"
Decision = Literal["other_fact", "judged_duplicate", "judged_distinct", "judge_failed", "not_asked"]
REASONS: dict[Decision, str] = {
    "other_fact": "they state different facts",
    "judged_duplicate": "the judge found them to say the same",
    "judged_distinct": "the judge found them to differ",
    "judge_failed": "no verdict, so neither goes for the other",
    "not_asked": "settled before: at least one of them is a duplicate of another chunk",
}


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `dedup` of params.yaml; thresholds, memory_mb and neighbours are those of near_pairs."""

    models: list[str]  # embedding models; a pair that one of them finds is looked at
    thresholds: dict[str, float]  # by embedding model, the cosine from which on pairs are looked at, 0.1..1
    judge: str  # the language model that is asked
    max_new_tokens: int  # of its reply (rating), >= 1
    excess_nats: float  # duplicates add no more than this to each other (likelihood), >= 0
    memory_mb: int  # working memory of the search, beside the vectors
    neighbours: int  # of a chunk so many nearest are looked at, >= 1
    sample: int  # kept chunks that qa asks about; 0: all
    seed: int  # of the sample
    engine: Engine = "local"  # who judges: this process, or the workers of a Ray cluster (section ray)

    def __post_init__(self) -> None:
        """Checks that every model has thresholds, and the ranges."""
        if not self.models or len(set(self.models)) < len(self.models):
            raise ValueError(f"models: each once and at least one, found {self.models}")
        for model in self.models:
            if model not in self.thresholds:
                raise ValueError(f"thresholds: none for {model!r}; there are {sorted(self.thresholds)}")
        check_search({f"thresholds.{model}": cosine for model, cosine in self.thresholds.items()}, self.neighbours)
        if self.max_new_tokens < 1 or min(self.sample, self.excess_nats) < 0:
            raise ValueError("max_new_tokens must be >= 1, sample and excess_nats >= 0")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was decided of N chunks with words of their own."""

    representative: list[int]  # (N,) of each chunk: itself where it stays
    decisions: dict[ChunkPair, Decision]  # of all pairs found, in order
    facts: dict[ChunkPair, str]  # of the pairs with other facts: in which words
    verdicts: dict[ChunkPair, Verdict]  # of the pairs asked about
    rounds: int  # of asking


@dataclass(frozen=True, kw_only=True)
class Deduplicated:
    """What the stage writes."""

    kept: list[Record]  # the chunks that stay
    same_words: list[Record]  # removed for one of the same words, which may be a judged duplicate itself: removed, kept
    pairs: dict[str, list[Record]]  # embedding model -> its pairs
    metrics: dict[str, Any]


def resolve(
    lengths: Sequence[int],
    found: Iterable[ChunkPair],
    facts: Mapping[ChunkPair, str],
    ask: Callable[[list[ChunkPair]], list[Verdict]],
) -> Outcome:
    """Asks about the pairs of which both chunks stay, groups by the verdicts, and asks again, until all are settled.

    So the judge is not asked what is settled, and no two chunks stay that it would not have been asked about.

    Args:
        lengths: of each chunk's text; a group's longest chunk stays, other things being equal.
        found: all near pairs.
        facts: of those that state different facts, in which words; the judge is not asked about them.
        ask: gives the verdicts of pairs.
    """
    pairs = sorted(found)
    verdicts: dict[ChunkPair, Verdict] = {}
    rounds = 0
    while True:
        duplicates = [pair for pair in pairs if pair in verdicts and verdicts[pair].duplicate]
        head = star_groups(len(lengths), duplicates, lengths)
        open_pairs = [
            (a, b) for a, b in pairs if (a, b) not in facts and (a, b) not in verdicts and head[a] == a and head[b] == b
        ]
        if not open_pairs:
            break
        verdicts.update(zip(open_pairs, ask(open_pairs), strict=True))
        rounds += 1
    names: dict[bool | None, Decision] = {True: "judged_duplicate", False: "judged_distinct", None: "judge_failed"}
    decisions: dict[ChunkPair, Decision] = {
        pair: "other_fact" if pair in facts else names[verdicts[pair].duplicate] if pair in verdicts else "not_asked"
        for pair in pairs
    }
    return Outcome(
        representative=head,
        decisions=decisions,
        facts={pair: facts[pair] for pair in pairs if pair in facts},
        verdicts=verdicts,
        rounds=rounds,
    )


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


def pair_records(ids: Sequence[str], cosines: Mapping[ChunkPair, float], outcome: Outcome) -> list[Record]:
    """One line a pair of one model: its cosine, what was decided, which chunk went for which, and why.

    Args:
        ids: of the chunks with words of their own.
        cosines: of the model's pairs.
        outcome: what was decided.
    """
    records = []
    for (a, b), cosine in cosines.items():
        decision = outcome.decisions[a, b]
        verdict = outcome.verdicts.get((a, b))
        heads = outcome.representative[a], outcome.representative[b]
        reason = REASONS[decision]
        if decision == "other_fact":
            reason += f": {outcome.facts[a, b]}"
        removed = kept = None
        if decision == "judged_duplicate":
            assert heads != (a, b), "of two duplicates one goes"
            if heads == (b, b):
                removed, kept = ids[a], ids[b]
            elif heads == (a, a):
                removed, kept = ids[b], ids[a]
            else:
                reason += "; who goes was settled by their pairs with other chunks"
        records.append(
            {"a": ids[a], "b": ids[b], "cosine": round(cosine, COSINE_DECIMALS)}
            | {"decision": decision, "verdict": verdict and verdict.why}
            | {"removed": removed, "kept": kept, "reason": reason}
        )
    return records


def summary(
    same: Sequence[int], found: Mapping[str, FoundPairs], outcome: Outcome, kept: Sequence[Record]
) -> dict[str, Any]:
    """The metrics: chunks in = kept + dropped by what decided, pairs by decision, groups and their diameter.

    Args:
        same: of each chunk the one of the same words that was compared.
        found: embedding model -> its near pairs.
        outcome: what was decided of the chunks compared.
        kept: the chunks that stay.
    """
    judged = sum(head != i for i, head in enumerate(outcome.representative))
    dropped = {"same_words": len(same) - len(outcome.representative), "judged": judged}
    groups = group_members(outcome.representative)
    sizes = Counter(1 + len(chunk["duplicates"]) for chunk in kept if chunk["duplicates"])
    return {
        "chunks": check_counts(len(same), len(kept), dropped),
        "pairs": {
            model: {"found": len(near.cosines)}
            | dict(sorted(Counter(outcome.decisions[pair] for pair in near.cosines).items()))
            for model, near in found.items()
        },
        "asked": len(outcome.verdicts),
        "rounds_of_asking": outcome.rounds,
        "groups": sum(sizes.values()),
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
    same: Sequence[int] | None = None,
) -> Deduplicated:
    """Decides which chunks stay.

    Args:
        chunks: records with id and text.
        found: embedding model -> its near pairs of the chunks with words of their own, in order.
        ask: verdicts of such pairs.
        params: section `dedup`.
        same: `same_words` of the chunks' texts, where it is known already: to read all words again takes long.
    """
    if same is None:
        same = same_words([chunk["text"] for chunk in chunks])
    own = sorted(set(same))
    texts = [chunks[i]["text"] for i in own]
    pairs = {pair for near in found.values() for pair in near.cosines}
    compared = progress.each(sorted(pairs), "facts of near pairs", "pair")
    facts = {(a, b): fact for a, b in compared if (fact := other_fact(texts[a], texts[b])) is not None}
    facts |= template_pairs(texts, sorted(pairs - facts.keys()))
    outcome = resolve([len(text) for text in texts], pairs, facts, ask)
    stays = {place: own[head] for place, head in zip(own, outcome.representative, strict=True)}
    kept = kept_chunks(chunks, [stays[place] for place in same], params)
    ids = [chunks[i]["id"] for i in own]
    return Deduplicated(
        kept=kept,
        same_words=[
            {"removed": chunks[i]["id"], "kept": chunks[place]["id"]} for i, place in enumerate(same) if place != i
        ],
        pairs={model: pair_records(ids, near.cosines, outcome) for model, near in found.items()},
        metrics=summary(same, found, outcome, kept),
    )


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: chunks that were removed."""
    return {"dedup": {"removed": results["chunks"]["in"] - results["chunks"]["kept"]}}


def main() -> None:
    """Reads params.yaml, chunks.jsonl and near pairs; writes chunks_dedu.jsonl, the pair files and the metrics."""
    params = load(Params, "dedup")
    watch = Stopwatch("dedup")
    chunks = read_jsonl(CHUNKS, required=["id", "text"])
    same = same_words([chunk["text"] for chunk in chunks])
    own = sorted(set(same))
    texts = [chunks[i]["text"] for i in own]
    found = {model: read_found(model, [chunks[i]["id"] for i in own]) for model in params.models}
    prompt = load_prompts([PROMPT], domain=read_param("domain"))[PROMPT]
    watch.lap("read")
    entry = load_model_entry(params.judge)  # whether or not there is a pair to ask about
    with ExitStack() as stack:
        cluster = stack.enter_context(open_cluster(params.engine, lambda: load(RayParams, "ray")))
        judge = cache(lambda: stack.enter_context(open_model(entry, by_workers(cluster))))

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

        result = dedup(chunks, found, ask, params, same)
    for model, records in result.pairs.items():
        write_jsonl(PAIRS_DIR / f"{model}_dedu.jsonl", records)
    write_jsonl(SAME_WORDS, result.same_words)
    write_jsonl(KEPT, result.kept)
    metrics = result.metrics
    write_metrics("dedup", metrics, headline)
    watch.lap("write")
    watch.write(chunks=len(chunks), asked=metrics["asked"])
    asked = {(line["a"], line["b"]): line for records in result.pairs.values() for line in records}
    if failed := [line["verdict"] for line in asked.values() if line["decision"] == "judge_failed"]:
        print(f"dedup: no verdict on {len(failed):,} pairs, so both chunks of each stay: {top_reasons(failed)}")
    made = f"{len(result.kept):,} chunks, {metrics['sampled']:,} of them to ask about,"
    print(ending("dedup", metrics["chunks"], "chunks", made, KEPT))


if __name__ == "__main__":
    main()
