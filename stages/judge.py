"""{generator}_qa.jsonl -> {judge}_{generator}_qa.jsonl: groundedness, relevance and standalone scores of each question.

Run: python -m stages.judge JUDGE GENERATOR

Two methods, named in the judge's entry in params.yaml (`judge_method`): `rating` asks the three
critique prompts for a rationale and a score (lib/judging/rating.py); `likelihood`, for models too small
for that, measures likelihoods (lib/judging/likelihood.py). With each run goes a check of the judge
itself: true items against items made wrong on purpose (lib/judging/validity.py), their AUC in the metrics.
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("judge", ["judge", "write"])

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import numpy as np

from stages.lib.core.metrics import Stopwatch, check_counts, ending, write_metrics
from stages.lib.core.params import load, load_prompts, read_param
from stages.lib.core.records import Record, read_jsonl, write_json, write_jsonl
from stages.lib.core.telling import Tell, check_tell, told, told_text
from stages.lib.judging.judged import CRITERIA, Judged, judge_by_likelihood, judge_by_rating
from stages.lib.judging.likelihood import word_rarity
from stages.lib.judging.validity import PROBES, JudgedItem, Probe, auc_report, make_probes, thin_kinds
from stages.lib.llm.asking import open_model
from stages.lib.llm.in_flight import top_reasons
from stages.lib.llm.protocol import Sampling
from stages.lib.spread.cluster import Engine, RayParams, open_cluster
from stages.lib.spread.language_models import by_workers
from stages.lib.weights.models import load_model_entry

CHUNKS = Path("data/chunks/chunks_dedu.jsonl")
QA_DIR = Path("data/qa")
OUT = Path("data/judgments")
CRITIQUE_PROMPTS = {criterion: f"question_{criterion}_critique_prompt" for criterion in CRITERIA}
LIKELIHOOD_PROMPTS = ["answer_without_context_prompt"]


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `judge` of params.yaml."""

    judges: list[str]  # names under models:; each judges each generator's questions in a stage of its own
    max_new_tokens: int  # of a rationale with its score (rating), >= 1
    expected_scores: bool  # also the expectation over the tokens 1..5 (rating; needs log-probabilities)
    validity_pairs: int  # items that are made wrong in each way, to check (and to calibrate likelihood) by, >= 1
    seed: int  # of the draw of these items
    engine: Engine = "local"  # who answers: this process, or the workers of a Ray cluster (section ray)

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if not self.judges:
            raise ValueError("judges: no judge is named")
        if self.max_new_tokens < 1 or self.validity_pairs < 1:
            raise ValueError("max_new_tokens and validity_pairs must be >= 1")


def make_metrics(method: str, judged: Judged, probes: Sequence[Probe], params: Params) -> dict[str, Any]:
    """Counts of judgments, means and spread of the scores, and the AUCs of the validity check."""
    failures = Counter(part for record in judged.fields for part in (record["failure"] or "").split("; ") if part)
    failed = sum(record["failure"] is not None for record in judged.fields)
    validity: dict[str, Any] = {}
    for criterion, kinds in PROBES.items():
        for kind in kinds:
            places = [probe.index for probe in probes if probe.kind == kind]
            true = [value for i in places if (value := judged.measures[criterion][i]) is not None]
            wrong = [value for value in judged.probe_measures[criterion, kind] if value is not None]
            validity.setdefault(criterion, {})[kind] = auc_report(true, wrong, params.seed)
    scores = {
        criterion: [score for record in judged.fields if (score := record[f"{criterion}_score"]) is not None]
        for criterion in CRITERIA
    }
    expected = {} if judged.no_expected is None else {"expected_scores": expected_counts(judged.no_expected)}
    return {
        "method": method,
        "questions": check_counts(len(judged.fields), len(judged.fields) - failed, {"judge_failed": failed}),
        "failures": dict(sorted(failures.items())),
        **expected,
        "scores": {
            criterion: {
                "mean": float(np.mean(values)) if values else None,
                "standard_deviation": float(np.std(values)) if values else None,
                "at_least_4": sum(value >= 4 for value in values),
            }
            for criterion, values in scores.items()
        },
        "validity": validity,
    }


def expected_counts(reasons: Sequence[str]) -> dict[str, Any]:
    """How many ratings got an expected score; `reasons`: of each, why not, or ""."""
    failed = sum(reason != "" for reason in reasons)
    return check_counts(len(reasons), len(reasons) - failed, {"failed_request": failed} if failed else {})


def advice(judged: Judged, method: str) -> str:
    """What a person does about a run that judged nothing, by why most judgments failed."""
    errors = [record["error"] for record in judged.fields if "error" in record]
    failed = f" Failed requests: {top_reasons(errors)}." if errors else ""
    parts = [part for record in judged.fields for part in (record["failure"] or "").split("; ") if part]
    reasons = Counter(part.rpartition(" ")[2] for part in parts)
    match max(reasons, key=reasons.__getitem__, default=""):
        case "failed_request":
            return failed
        case "cut_off":
            return f"{failed} Most replies reach their limit: raise judge.max_new_tokens (params.yaml)."
        case _:
            return f"{failed} Is it too small for judge_method {method!r} (params.yaml, models:)?"


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: how well the judge tells right items from wrong ones, its mean AUC."""
    aucs = [found["auc"] for kinds in results["validity"].values() for found in kinds.values()]
    known = [auc for auc in aucs if auc is not None]
    return {"judge": {"auc": float(np.mean(known))} if known else {}}


def main(judge: str, generator: str) -> None:
    """Reads questions and chunks, judges, writes judgments and metrics.

    Raises:
        ValueError: a question's chunk is not there, or not one question could be judged.
    """
    name = f"{judge}_{generator}"
    watch = Stopwatch(f"judge_{name}")
    params = load(Params, "judge")
    if judge not in params.judges:
        raise ValueError(f"params.yaml: judge.judges: {judge!r} is not among {params.judges}")
    qa_file = QA_DIR / f"{generator}_qa.jsonl"
    records = read_jsonl(qa_file, required=["id", "chunk", "question", "answer", "duplicate_of"])
    tell = check_tell(read_param("qa.tell"), "qa.tell")  # what the generator was told
    required = ["id", "document", "source", "text", *tell]
    chunks = {chunk["id"]: chunk for chunk in read_jsonl(CHUNKS, required=required)}
    items = make_items(records, chunks, qa_file, tell)
    texts = [told_text(chunk, tell) for chunk in chunks.values()]
    probes = make_probes(items, params.validity_pairs, params.seed, texts)
    print_thin(name, items, probes, params.validity_pairs)
    names = [*CRITIQUE_PROMPTS.values(), *LIKELIHOOD_PROMPTS]  # of both methods: dvc.yaml tracks both
    prompts = load_prompts(names, domain=read_param("domain"))
    with (
        open_cluster(params.engine, lambda: load(RayParams, "ray")) as cluster,
        open_model(load_model_entry(judge), by_workers(cluster)) as model,
    ):
        method = model.entry.judge_method
        match method:
            case "rating":
                judged = judge_by_rating(
                    items,
                    probes,
                    model,
                    prompts={criterion: prompts[CRITIQUE_PROMPTS[criterion]] for criterion in CRITERIA},
                    sampling=Sampling(max_tokens=params.max_new_tokens),
                    expected_scores=params.expected_scores,
                    name=f"judge {name}",
                )
            case "likelihood":
                rarity = word_rarity([f"{chunk['source']} {chunk['text']}" for chunk in chunks.values()])
                judged = judge_by_likelihood(items, probes, model, prompts=prompts, rarity=rarity, name=f"judge {name}")
            case _:
                assert_never(method)
    watch.lap("judge")
    metrics = make_metrics(method, judged, probes, params)
    out = [
        record | {"judge": judge, "method": method} | fields
        for record, fields in zip(records, judged.fields, strict=True)
    ]
    write_jsonl(OUT / f"{name}_qa.jsonl", out)
    write_json(OUT / f"{name}_validity.json", metrics["validity"])
    write_metrics(f"judge_{name}", metrics, headline)
    if not metrics["questions"]["kept"]:
        raise ValueError(
            f"{judge} could judge none of {len(records)} questions: {metrics['failures']}; its replies are in "
            f"{OUT / f'{name}_qa.jsonl'}.{advice(judged, method)}"
        )
    watch.lap("write")
    rate_per_second = round(len(records) / max(watch.parts["judge"], 1e-9), 3)
    watch.write(questions_per_second=rate_per_second, asked=model.asked, reused=model.reused)
    for criterion, kinds in metrics["validity"].items():
        for kind, found in kinds.items():
            if found["auc"] is not None:
                interval = f"[{found['low']:.2f}, {found['high']:.2f}]"
                print(f"{name}: {criterion} against {kind}: AUC {found['auc']:.2f} {interval}")
    if errors := [record["error"] for record in judged.fields if "error" in record]:
        print(f"{name}: requests on {len(errors):,} questions failed: {top_reasons(errors)}")
    made = f"{len(out):,} judgments"
    print(ending(f"judge {judge} {generator}", metrics["questions"], "questions", made, OUT / f"{name}_qa.jsonl"))


def print_thin(name: str, items: Sequence[JudgedItem], probes: Sequence[Probe], pairs: int) -> None:
    """Says where the validity check has fewer wrong items than it could have."""
    if len({item.document for item in items}) == 1:
        where = "other parts of it" if len(items) > 1 else "other chunks of it"
        print(f"{name}: all questions are of one document; wrong chunks and questions come from {where}")
    for kind, count in thin_kinds(probes, min(pairs, len(items))).items():
        skipped = "is skipped" if count == 0 else f"shrinks to {count} of {min(pairs, len(items))} pairs"
        print(f"{name}: the validity check by {kind} {skipped}: the questions do not allow more")


def make_items(
    records: Sequence[Record], chunks: Mapping[str, Record], qa_file: Path, tell: Sequence[Tell]
) -> list[JudgedItem]:
    """What is judged, in the order of the records; `tell`: what is told of a chunk beside its text.

    Raises:
        ValueError: there is no question, or a question's chunk is not there.
    """
    if not records:
        raise ValueError(f"{qa_file}: no questions to judge")
    items = []
    for line, record in enumerate(records, start=1):
        chunk = chunks.get(record["chunk"])
        if chunk is None:
            raise ValueError(f"{qa_file}:{line}: its chunk {record['chunk']!r} is not in {CHUNKS}; run qa again")
        items.append(
            JudgedItem(
                question=record["question"],
                answer=record["answer"],
                context=told_text(chunk, tell),
                document=chunk["document"],
                told=told(chunk, tell),
            )
        )
    return items


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m stages.judge JUDGE GENERATOR")
    main(sys.argv[1], sys.argv[2])
