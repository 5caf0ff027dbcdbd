"""chunks_dedu.jsonl -> {generator}_qa.jsonl: a factoid question and answer a chunk. Run: python -m stages.qa GENERATOR.

The strategy, direct or fact_first (lib/qa/question_writing.py), is named in the generator's entry in params.yaml
(`qa_strategy`). What is rejected is kept beside the questions with its reason, reply by reply.
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("qa", ["ask", "write"])

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.lib.core.metrics import Stopwatch, check_counts, ending, write_metrics
from stages.lib.core.params import load, load_prompts, read_param
from stages.lib.core.records import Record, read_jsonl, write_jsonl
from stages.lib.core.telling import Tell, check_tell, told
from stages.lib.llm.asking import open_model
from stages.lib.llm.in_flight import top_reasons
from stages.lib.qa.question_writing import ALL_PROMPTS, QuestionOutcome, asker
from stages.lib.qa.questions import mark_duplicates
from stages.lib.spread.cluster import Engine, RayParams, open_cluster
from stages.lib.spread.language_models import by_workers
from stages.lib.weights.models import load_model_entry

CHUNKS = Path("data/chunks/chunks_dedu.jsonl")
QA_DIR = Path("data/qa")
NOT_ENGLISH = (
    "Most chunks are not in English, and the rules of qa_strategy 'fact_first' are: "
    "take qa_strategy 'direct' with a model that speaks the documents' language (params.yaml, models:)."
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `qa` of params.yaml."""

    generators: list[str]  # names under models:; each runs as a stage of its own
    max_new_tokens: int  # of a reply with question and answer (direct), >= 1
    question_max_new_tokens: int  # of the rest of a question after its opening (fact_first), >= 1
    facts_per_chunk: int  # questions on a chunk's facts that are tried (fact_first), >= 1
    temperature: float  # 0: greedy
    seed: int  # of sampling, where temperature > 0
    tell: list[Tell]  # what the generator (direct) and the judges read beside a chunk's text
    duplicate_similarity: float  # Jaccard similarity of the content words from which questions count as the same, 0..1
    engine: Engine = "local"  # who answers: this process, or the workers of a Ray cluster (section ray)

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if not self.generators:
            raise ValueError("generators: no generator is named")
        if min(self.max_new_tokens, self.question_max_new_tokens, self.facts_per_chunk) < 1:
            raise ValueError("max_new_tokens, question_max_new_tokens and facts_per_chunk must be >= 1")
        check_tell(self.tell, "qa.tell")
        if not 0 < self.duplicate_similarity <= 1:
            raise ValueError(f"duplicate_similarity: {self.duplicate_similarity} is not in 0..1")


def mark_same_questions(records: list[Record], similarity: float) -> list[Record]:
    """Adds `duplicate_of`: the id of the first earlier record that asks the same, or null."""
    marks = mark_duplicates([record["question"] for record in records], similarity)
    return [
        record | {"duplicate_of": None if mark is None else records[mark]["id"]}
        for record, mark in zip(records, marks, strict=True)
    ]


def make_metrics(strategy: str, chunks: int, outcome: QuestionOutcome, records: Sequence[Record]) -> dict[str, Any]:
    """Counts of chunks and of replies, each of which adds up."""
    final = Counter(line["reason"] for line in outcome.rejected if line["final"])
    replies = Counter(line["reason"] for line in outcome.rejected if line["reply"] is not None)
    by_rule = sum(record.get("finished") == "" for record in records)
    return {
        "strategy": strategy,
        "chunks": check_counts(chunks, len(records), dict(final)),
        "replies": check_counts(outcome.asked, len(records), dict(replies)),
        "questions": len(records),
        "questions_worded_by_rule_alone": by_rule,  # fact_first: by the sentence's parse, or an opening that was whole
        "round_trips_unmeasured": len(outcome.unmeasured),
        "most_common_opening": common_opening([record["question"] for record in records]),
        "duplicate_questions": sum(record["duplicate_of"] is not None for record in records),
        "answers_with_support": sum(record["support"] is not None for record in records),
    }


def common_opening(questions: Sequence[str]) -> dict[str, Any]:
    """The two words that most questions begin with, and the share of them, 0..1."""
    counts = Counter(" ".join(question.lower().split()[:2]) for question in questions)
    (opening, count), *_ = counts.most_common(1) or [("", 0)]
    return {"words": opening, "share": round(count / max(len(questions), 1), 4)}


def advice(rejected: Sequence[Record], strategy: str) -> str:
    """What a person does about a run without a question, by why most chunks have none."""
    errors = [line["error"] for line in rejected if "error" in line]
    failed = f" Failed requests: {top_reasons(errors)}." if errors else ""
    reasons = Counter(line["reason"] for line in rejected if line["final"])
    match max(reasons, key=reasons.__getitem__, default=""):
        case "failed_request":
            return failed
        case "not_english":
            return f" {NOT_ENGLISH}"
        case "cut_off":
            return f"{failed} Most replies reach their limit: raise qa.max_new_tokens (params.yaml)."
        case _:
            return f"{failed} Is the model too small for qa_strategy {strategy!r} (params.yaml, models:)?"


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: the generator's questions."""
    return {"qa": {"questions": results["questions"]}}


def main(generator: str) -> None:
    """Reads the chunks, asks, writes questions, rejected replies and metrics.

    Raises:
        ValueError: no chunk is sampled, or no reply was usable.
    """
    watch = Stopwatch(f"qa_{generator}")
    params = load(Params, "qa")
    if generator not in params.generators:
        raise ValueError(f"params.yaml: qa.generators: {generator!r} is not among {params.generators}")
    chunks = [
        c
        for c in read_jsonl(CHUNKS, required=["id", "source", "start", "text", "sampled", *params.tell])
        if c["sampled"]
    ]
    chunks = [chunk | {"told": told(chunk, params.tell)} for chunk in chunks]
    if not chunks:
        raise ValueError(f"{CHUNKS}: no chunk is marked as sampled; see dedup's sample params")
    with (
        open_cluster(params.engine, lambda: load(RayParams, "ray")) as cluster,
        open_model(load_model_entry(generator), by_workers(cluster)) as model,
    ):
        strategy = model.entry.qa_strategy
        prompts = load_prompts(ALL_PROMPTS, domain=read_param("domain"))  # of both strategies: dvc.yaml tracks both
        outcome = asker(strategy)(chunks, prompts, model, params, generator)
    watch.lap("ask")
    records = mark_same_questions(outcome.kept, params.duplicate_similarity)
    metrics = make_metrics(strategy, len(chunks), outcome, records)
    dropped = QA_DIR / f"{generator}_dropped.jsonl"
    write_jsonl(dropped, outcome.rejected)
    if not records:
        raise ValueError(
            f"{generator}: none of {len(chunks)} chunks got a usable question: {metrics['chunks']['dropped']}; "
            f"the replies are in {dropped}.{advice(outcome.rejected, strategy)}"
        )
    write_jsonl(QA_DIR / f"{generator}_qa.jsonl", records)
    write_metrics(f"qa_{generator}", metrics, headline)
    watch.lap("write")
    watch.write(
        chunks_per_second=round(len(chunks) / max(watch.parts["ask"], 1e-9), 3), asked=model.asked, reused=model.reused
    )
    if errors := [line["error"] for line in outcome.rejected if "error" in line]:
        print(f"qa {generator}: {len(errors):,} requests failed: {top_reasons(errors)}")
    if outcome.unmeasured:
        message = f"{len(outcome.unmeasured):,} questions made no round trip"
        print(f"qa {generator}: {message}: {top_reasons(outcome.unmeasured)}")
    if 2 * metrics["chunks"]["dropped"].get("not_english", 0) >= len(chunks):
        print(f"qa {generator}: {NOT_ENGLISH}")
    made = f"{len(records):,} questions"
    print(ending(f"qa {generator}", metrics["chunks"], "chunks", made, QA_DIR / f"{generator}_qa.jsonl"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m stages.qa GENERATOR")
    main(sys.argv[1])
