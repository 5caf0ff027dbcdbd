"""Judgments -> qa_selected.jsonl: questions that pass every threshold of every judge, the best one per chunk.

Run: python -m stages.select

The funnel (funnel.csv) takes the questions through one test after another: what one row keeps
is what the next row gets, so that `in = kept + dropped` in each row and over all of them.

A judge that the validity check of `judge` does not show to tell right items from wrong ones is named on stderr and in
the metrics, or ends the stage (`judge_at_chance`).
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("select", ["select"])

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np

from stages.lib.core.metrics import Stopwatch, ending, write_metrics
from stages.lib.core.params import load, read_names
from stages.lib.core.records import Record, csv_text, read_json, read_jsonl, write_csv, write_jsonl

JUDGMENTS = Path("data/judgments")
OUT = Path("data/selected")
MIN_PAIRS = 4  # with fewer, even a perfect order of right and wrong items comes by chance in more than 1 of 20 cases
CRITERIA = ("groundedness", "relevance", "standalone")
REQUIRED = ("id", "chunk", "generator", "question", "answer", "support", "duplicate_of", "judge", "failure")
Judged = dict[str, dict[str, Record]]  # judge -> question id -> judgment, of one generator


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `select` of params.yaml: the least score (1..5) that each judge must give, and who may judge."""

    groundedness: float  # the chunk answers the question
    relevance: float  # somebody who uses these documents would ask it
    standalone: float  # it is understood without the chunk
    judge_auc: float  # what the 95% interval of a judge's validity AUC must lie above, 0.5..1; 0.5: chance
    judge_at_chance: Literal["warn", "stop"]  # what becomes of a judge whose interval does not, or who is not checked

    def __post_init__(self) -> None:
        for criterion in CRITERIA:
            if not 1.0 <= getattr(self, criterion) <= 5.0:
                raise ValueError(f"{criterion}: {getattr(self, criterion)} is not in 1..5")
        if not 0.5 <= self.judge_auc < 1.0:
            raise ValueError(f"judge_auc: {self.judge_auc} is not in 0.5..1")


@dataclass
class Funnel:
    """The tests that the questions went through, one row each."""

    rows: list[dict[str, Any]]

    def keep(
        self, records: list[Record], kept: list[Record], *, generator: str, judge: str = "", test: str, why: str
    ) -> None:
        """Adds the row of one test."""
        counts = {"in": len(records), "kept": len(kept), "dropped": len(records) - len(kept)}
        self.rows.append({"generator": generator, "judge": judge, "criterion": test, **counts, "reason": why})


def passes(judgment: Record, criterion: str, params: Params) -> bool:
    """Whether the judge's score reaches the threshold; a missing score does not."""
    score = judgment[f"{criterion}_score"]
    return score is not None and score >= getattr(params, criterion)


def mean_score(judgments: Sequence[Record]) -> float:
    """Mean over judges and criteria of the scores, 1..5; the expected score where the judge gives one."""
    scores = []
    for judgment in judgments:
        for criterion in CRITERIA:
            expected = judgment[f"{criterion}_expected"]
            scores.append(judgment[f"{criterion}_score"] if expected is None else expected)
    return sum(scores) / len(scores)


def select(judged: dict[str, Judged], params: Params) -> tuple[list[Record], Funnel]:
    """The selected questions, in the order of the first judge's file, and the funnel. `judged`: by generator."""
    funnel = Funnel([])
    passed: list[Record] = []
    for generator, by_judge in judged.items():
        questions = list(next(iter(by_judge.values())).values())
        kept = [question for question in questions if question["duplicate_of"] is None]
        funnel.keep(questions, kept, generator=generator, test="unique", why="duplicate_question")
        for judge, judgments in by_judge.items():
            kept, before = [question for question in kept if judgments[question["id"]]["failure"] is None], kept
            funnel.keep(before, kept, generator=generator, judge=judge, test="judged", why="judge_failed")
            for criterion in CRITERIA:
                before = kept
                kept = [question for question in kept if passes(judgments[question["id"]], criterion, params)]
                why = f"{criterion}_below_threshold"
                funnel.keep(before, kept, generator=generator, judge=judge, test=criterion, why=why)
        passed += [_selected(question, by_judge) for question in kept]
    best = _best_of_each_chunk(passed)
    for generator in judged:
        before = [question for question in passed if question["generator"] == generator]
        after = [question for question in best if question["generator"] == generator]
        funnel.keep(before, after, generator=generator, test="best_of_chunk", why="another_generator_scored_higher")
    return best, funnel


def _selected(question: Record, by_judge: Judged) -> Record:
    """The QA record with the mean score and each judge's scores."""
    judged_fields = ("judge", "method", "failure")
    fields = {
        key: value
        for key, value in question.items()
        if key not in judged_fields and not key.startswith(tuple(f"{criterion}_" for criterion in CRITERIA))
    }
    judgments = {judge: by_id[question["id"]] for judge, by_id in by_judge.items()}
    scores = {
        judge: {criterion: judgment[f"{criterion}_score"] for criterion in CRITERIA}
        for judge, judgment in judgments.items()
    }
    return fields | {"mean_score": round(mean_score(list(judgments.values())), 6), "scores": scores}


def _best_of_each_chunk(questions: list[Record]) -> list[Record]:
    """One question a chunk: the highest mean score, ties to the generator named first."""
    best: dict[str, Record] = {}
    for question in questions:
        held = best.get(question["chunk"])
        if held is None or question["mean_score"] > held["mean_score"]:
            best[question["chunk"]] = question
    return [question for question in questions if best[question["chunk"]] is question]


def agreement(judged: dict[str, Judged], params: Params) -> dict[str, dict[str, dict[str, float]]]:
    """For each pair of judges and criterion, over the questions that both scored.

    `spearman`: rank correlation of the scores (0 where one judge gives all the same score);
    `same_verdict`: share of questions that both pass or both fail; `kappa`: Cohen's kappa of
    these verdicts (Cohen 1960), 0 where chance alone agrees as often.
    """
    judges = list(dict.fromkeys(judge for by_judge in judged.values() for judge in by_judge))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for one, other in itertools.combinations(judges, 2):
        for criterion in CRITERIA:
            pairs = [
                (by_judge[one][question], by_judge[other][question])
                for by_judge in judged.values()
                for question in by_judge[one]
            ]
            key = f"{criterion}_score"
            both = [(a, b) for a, b in pairs if a[key] is not None and b[key] is not None]
            found.setdefault(f"{one}_{other}", {})[criterion] = _pair_agreement(
                np.array([[a[key], b[key]] for a, b in both], dtype=np.float64).reshape(-1, 2),
                getattr(params, criterion),
            )
    return found


def _pair_agreement(scores: np.ndarray, threshold: float) -> dict[str, float]:
    """Agreement of two judges; scores (n, 2)."""
    if len(scores) == 0:
        return {"questions": 0, "spearman": 0.0, "same_verdict": 0.0, "kappa": 0.0}
    from scipy.stats import spearmanr  # with the next line a second to import, and one judge alone has no pair
    from sklearn.metrics import cohen_kappa_score

    verdicts = scores >= threshold  # (n, 2)
    undefined = len(np.unique(verdicts)) == 1  # both judges give every question the same verdict
    varied = len(scores) > 1 and all(len(np.unique(column)) > 1 for column in scores.T)
    return {
        "questions": len(scores),
        "spearman": float(spearmanr(scores[:, 0], scores[:, 1]).statistic) if varied else 0.0,
        "same_verdict": float(np.mean(verdicts[:, 0] == verdicts[:, 1])),
        "kappa": 0.0 if undefined else float(cohen_kappa_score(verdicts[:, 0], verdicts[:, 1])),
    }


def read_judgments(generators: Sequence[str], judges: Sequence[str], directory: Path = JUDGMENTS) -> dict[str, Judged]:
    """All judgments by generator, judge and question id.

    Raises:
        ValueError: a file is absent or broken, or two judges' files are not about the same questions.
    """
    columns = [f"{criterion}_{part}" for criterion in CRITERIA for part in ("score", "expected")]
    judged: dict[str, Judged] = {}
    for generator in generators:
        first: list[str] | None = None
        for judge in judges:
            file = directory / f"{judge}_{generator}_qa.jsonl"
            by_id = {record["id"]: record for record in read_jsonl(file, required=[*REQUIRED, *columns])}
            first = list(by_id) if first is None else first
            if list(by_id) != first:
                raise ValueError(f"{file}: not the questions of the other judges' files; run the judge stages again")
            judged.setdefault(generator, {})[judge] = by_id
    return judged


def doubtful(checks: dict[str, dict[str, Any]], auc: float) -> list[str]:
    """What no validity check shows a judge to see: one line for each judge, criterion and kind of wrong items.

    Each kind counts for itself: a judge may know a wrong chunk and yet not see a wrong answer of the right one.

    Args:
        checks: judge -> criterion -> kind -> {auc, low, high, pairs}, as judge writes it.
        auc: what the interval must lie above.
    """
    lines = []
    for judge, criteria in checks.items():
        for criterion, kinds in criteria.items():
            for kind, found in kinds.items():
                what = f"judge {judge}: {criterion} against {kind}"
                if found["auc"] is None or found["pairs"] < MIN_PAIRS:
                    lines.append(
                        f"{what}: not checked, {found['pairs']} pairs; {MIN_PAIRS} are the least that can tell"
                    )
                elif found["low"] <= auc:
                    interval = f"[{found['low']:.2f}, {found['high']:.2f}]"
                    lines.append(f"{what}: AUC {found['auc']:.2f} {interval} is not above {auc:g}")
    return lines


def read_checks(generators: Sequence[str], judges: Sequence[str], directory: Path = JUDGMENTS) -> dict[str, Any]:
    """The validity checks that judge wrote, by "JUDGE on GENERATOR's questions".

    Raises:
        ValueError: a file is absent or broken.
    """
    return {
        f"{judge} on {generator}'s questions": read_json(
            directory / f"{judge}_{generator}_validity.json", hint="run the judge stages again"
        )
        for generator in generators
        for judge in judges
    }


def answer_for(lines: Sequence[str], params: Params) -> None:
    """Warns of doubtful judges on stderr, or ends the stage.

    Raises:
        ValueError: `judge_at_chance` is stop and a judge is doubtful.
    """
    if not lines:
        return
    match params.judge_at_chance:
        case "warn":
            for line in lines:
                print(f"select: warning: {line}", file=sys.stderr)
        case "stop":
            raise ValueError(
                "a judge's scores may be chance:\n" + "\n".join(lines) + "\ntake a larger judge (judge.judges), ask "
                "about more chunks, lower select.judge_auc, or set select.judge_at_chance to warn"
            )
        case _:
            assert_never(params.judge_at_chance)


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: questions that passed."""
    return {"select": {"questions": results["questions"]["kept"]}}


def main() -> None:
    """Reads params.yaml and data/judgments, writes data/selected and metrics/select.json."""
    params = load(Params, "select")
    watch = Stopwatch("select")
    generators, judges = read_names("qa.generators"), read_names("judge.judges")
    judged = read_judgments(generators, judges)
    doubts = doubtful(read_checks(generators, judges), params.judge_auc)
    answer_for(doubts, params)
    selected, funnel = select(judged, params)
    if not selected:
        table = csv_text(funnel.rows)
        raise ValueError(f"no question passes every test; lower a threshold in params.yaml: select\n{table}")
    write_jsonl(OUT / "qa_selected.jsonl", selected)
    write_csv(OUT / "funnel.csv", funnel.rows)
    total = sum(row["in"] for row in funnel.rows if row["criterion"] == "unique")
    dropped: dict[str, int] = {}
    for row in funnel.rows:
        dropped[row["reason"]] = dropped.get(row["reason"], 0) + row["dropped"]
    per_generator = {
        generator: sum(question["generator"] == generator for question in selected) for generator in judged
    }
    counts = {"in": total, "kept": len(selected), "dropped": dropped}
    write_metrics(
        "select",
        {
            "questions": counts,
            "selected_by_generator": per_generator,
            "mean_score": float(np.mean([question["mean_score"] for question in selected])),
            "agreement": agreement(judged, params),
            "doubtful_judges": doubts,
        },
        headline,
    )
    watch.write(questions=total)
    print(ending("select", counts, "questions", f"{len(selected):,} questions", OUT / "qa_selected.jsonl"))


if __name__ == "__main__":
    main()
