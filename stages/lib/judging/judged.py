"""Questions judged by either method, rating or likelihood, with the probes that check the judge.

Both ask about everything in one fixed order and give the same columns for each question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stages.lib.core.records import Record
from stages.lib.judging.likelihood import NULL, Measure, calibrated, measure
from stages.lib.judging.rating import Rating, rate
from stages.lib.judging.validity import PROBES, Criterion, JudgedItem, Probe
from stages.lib.llm.protocol import LanguageModel, Sampling

CRITERIA = tuple(PROBES)


@dataclass(frozen=True)
class Judged:
    """What a judge said of the items and of the probes."""

    fields: list[Record]  # for each item: its columns, without the record's own
    measures: dict[str, list[float | None]]  # criterion -> a number for each item, on the judge's own scale
    probe_measures: dict[tuple[str, str], list[float | None]]  # (criterion, kind) -> a number for each such probe
    no_expected: list[str] | None = None  # of each rating, why its expected score is missing; None: none was asked for


def judge_by_rating(
    items: Sequence[JudgedItem],
    probes: Sequence[Probe],
    model: LanguageModel,
    *,
    prompts: Mapping[str, str],
    sampling: Sampling,
    expected_scores: bool,
    name: str,
) -> Judged:
    """Asks for ratings of items and probes; the expected score, where there is one, is what the check compares.

    `prompts`: by criterion.
    """
    asked = _plan(items, probes)
    ratings = rate(
        [part[-1] for part in asked],
        model,
        prompts=prompts,
        sampling=sampling,
        expected_scores=expected_scores,
        progress=name,
    )
    found = {part[:-1]: rating for part, rating in zip(asked, ratings, strict=True)}
    fields = []
    for i in range(len(items)):
        record: Record = {}
        failures = []
        for criterion in CRITERIA:
            rating = found[criterion, "", i]
            record |= _columns(criterion, rating.score, rating.expected, rating.rationale, None)
            if rating.failure:
                failures.append(f"{criterion} {rating.failure}")
        fields.append(record | {"failure": "; ".join(failures) or None} | _errors(found, i))
    judged = _judged(items, probes, fields, {key: _number(rating) for key, rating in found.items()})
    if not expected_scores:
        return judged
    return replace(judged, no_expected=[rating.no_expected for rating in found.values() if rating.score is not None])


def judge_by_likelihood(
    items: Sequence[JudgedItem],
    probes: Sequence[Probe],
    model: LanguageModel,
    *,
    prompts: Mapping[str, str],
    rarity: Mapping[str, float],
    name: str,
) -> Judged:
    """Measures items and probes, and maps the items' measures to 1..5 by the probes'."""
    asked = _plan(items, probes)
    measures = measure([part[-1] for part in asked], model, prompts=prompts, rarity=rarity, progress=name)
    told = {part[:-1]: value for part, value in zip(asked, measures, strict=True)}
    found = {key: value.value for key, value in told.items()}
    scores = {}
    for criterion in CRITERIA:
        scores[criterion] = calibrated([found[criterion, "", i] for i in range(len(items))], _null(criterion, found))
    fields = []
    for i in range(len(items)):
        record: Record = {}
        for criterion in CRITERIA:
            record |= _columns(criterion, scores[criterion][i], None, None, found[criterion, "", i])
        failures = [f"{c} failed_request" for c in CRITERIA if told[c, "", i].error]
        fields.append(record | {"failure": "; ".join(failures) or None} | _errors(told, i))
    return _judged(items, probes, fields, found)


def _errors(found: Mapping[tuple[Criterion, str, int], Rating | Measure], i: int) -> Record:
    """The reasons of an item's failed requests, each once; nothing without any."""
    errors = dict.fromkeys(error for criterion in CRITERIA if (error := found[criterion, "", i].error))
    return {"error": "; ".join(errors)} if errors else {}


def _null(criterion: Criterion, found: Mapping[tuple[Criterion, str, int], float | None]) -> list[float]:
    """The measures of wrong items to calibrate by: of the criterion's own kind, else of another, else what 0 says.

    0 is on each measure's scale what tells nothing: the answer is as surprising without the chunk, the question names
    no word. Few or no wrong items are there where a single document has given few questions.
    """
    for kinds in (NULL[criterion], PROBES[criterion]):
        null = [value for key, value in found.items() if key[0] == criterion and key[1] in kinds and value is not None]
        if null:
            return null
    return [0.0]


def _plan(
    items: Sequence[JudgedItem], probes: Sequence[Probe]
) -> list[tuple[Criterion, str, int, tuple[Criterion, JudgedItem]]]:
    """(criterion, probe kind or "", number, what is asked) of all that is judged, in a fixed order."""
    plan = [(criterion, "", i, (criterion, item)) for i, item in enumerate(items) for criterion in CRITERIA]
    for number, probe in enumerate(probes):
        plan += [(c, probe.kind, number, (c, probe.item)) for c in CRITERIA if probe.kind in PROBES[c]]
    return plan


def _judged(
    items: Sequence[JudgedItem],
    probes: Sequence[Probe],
    fields: list[Record],
    found: Mapping[tuple[Criterion, str, int], float | None],
) -> Judged:
    return Judged(
        fields,
        {criterion: [found[criterion, "", i] for i in range(len(items))] for criterion in CRITERIA},
        {
            (criterion, kind): [
                found[criterion, kind, number] for number, probe in enumerate(probes) if probe.kind == kind
            ]
            for criterion, kinds in PROBES.items()
            for kind in kinds
        },
    )


def _columns(
    criterion: str, score: float | None, expected: float | None, rationale: str | None, measured: float | None
) -> Record:
    return {
        f"{criterion}_score": score,
        f"{criterion}_expected": expected,
        f"{criterion}_rationale": rationale,
        f"{criterion}_measure": measured,
    }


def _number(rating: Rating) -> float | None:
    return rating.score if rating.expected is None else rating.expected
