"""What was answered, in numbers: systems with paired intervals, citations, and the floor of relevance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.lib.answering.evidence import Evidence
from stages.lib.answers.likeness import squad_words, token_f1
from stages.lib.evaluation.comparison import Measure, compare_systems
from stages.lib.evaluation.reply_kinds import corrects
from stages.lib.passages.passages import Quote
from stages.lib.rag.questions import ORDER, Asked, refuses

KEPT = 0.9  # share of answerable questions that a floor is to let through


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the search found for one question."""

    evidence: Evidence
    shown: list[Quote]  # the citations, best first
    cited: list[list[str]]  # of each citation the chunks that hold it
    passages: list[str]  # ids of the chunks that the model reads


def citation_rows(asked: Sequence[Asked], found: Sequence[Found]) -> dict[str, list[float]]:
    """Measure -> 0 or 1 of each answerable question, the ones with a false premise among them."""
    rows: dict[str, list[float]] = {}
    for question, one in zip(asked, found, strict=True):
        if not question.answerable:
            continue
        chunks = [not question.relevant.isdisjoint(names) for names in one.cited]
        told = {
            "found_chunk": not question.relevant.isdisjoint(one.passages),
            "cited_chunk": any(chunks[:1]),
            "cited_chunk_any": any(chunks),
        }
        if question.support is not None:
            supports = [_holds_support(quote, question.support) for quote in one.shown]
            told |= {"cited_support": any(supports[:1]), "cited_support_any": any(supports)}
        for name, value in told.items():
            rows.setdefault(name, []).append(float(value))
    return rows


def _holds_support(quote: Quote, support: tuple[str, int, int]) -> bool:
    """Whether a quote and the sentence that answers share more than half of the shorter one."""
    document, start, end = support
    common = min(quote.span.end, end) - max(quote.span.start, start)
    return quote.document.sha256 == document and 2 * common > min(end - start, quote.span.end - quote.span.start)


def system_measures(
    asked: Sequence[Asked],
    found: Sequence[Found],
    replies: Mapping[str, Sequence[str]],
    similarities: Mapping[str, Sequence[float]],
    models: Sequence[str],
) -> tuple[list[Measure], dict[str, str]]:
    """The measures that these questions allow, and why others are absent.

    A question is refused where the passages are below the floor or, by a model, in its own words (`words_...`: by these
    alone). Questions off topic that the floor stops are not asked: the floor's report counts them.

    Args:
        asked: the questions that the models were asked.
        found: what was found for each.
        replies: system -> what it says to each question.
        similarities: system -> cosine of each reply and its reference; of questions without one, anything.
        models: those of the systems that write words of their own.
    """
    of_kind = {kind: [i for i, one in enumerate(asked) if one.kind == kind] for kind in ORDER}
    answerable, untold = of_kind["answerable"], of_kind["removed"] + of_kind["off_topic"]
    words = {
        name: [name in models and refuses(one, text) for one, text in zip(asked, said, strict=True)]
        for name, said in replies.items()
    }
    refused = {
        name: [said or not one.evidence.answerable for said, one in zip(values, found, strict=True)]
        for name, values in words.items()
    }
    by_words = {name: words[name] for name in models}
    f1 = {name: [token_f1(t, q.reference) for t, q in zip(said, asked, strict=True)] for name, said in replies.items()}
    answered = {name: [not value for value in values] for name, values in refused.items()}
    corrected = {
        name: [q.record is not None and corrects(q.record, t) for q, t in zip(asked, replies[name], strict=True)]
        for name in models
    }
    scored = [i for i in answerable if all(values[i] is not None for values in f1.values())]
    means: list[tuple[str, Mapping[str, Sequence[Any]], list[int], str]] = [
        ("token_f1", f1, scored, "answerable" if not answerable else "answerable, scorable"),
        ("embedding_similarity", similarities, answerable, "answerable"),
        ("answered", answered, answerable, "answerable"),
        ("refusal_recall", refused, untold, "unanswerable"),
        ("words_refusal_recall", by_words, untold, "unanswerable"),
        ("correction_rate", corrected, of_kind["false_premise"], "false-premise"),
    ]
    measures = [
        Measure(name=name, parts={s: [float(v[i]) for i in chosen] for s, v in values.items()})
        for name, values, chosen, _ in means
        if chosen
    ]
    absent = {name: f"no {what} question was asked" for name, _, chosen, what in means if not chosen}
    for name, values in (("refusal_precision", refused), ("words_refusal_precision", by_words)):
        if answerable and untold:
            measures.append(_precision(name, values, answerable, untold))
        else:
            absent[name] = "the questions asked are all answerable or all unanswerable"
    return measures, absent


def not_scored(asked: Sequence[Asked]) -> dict[str, int]:
    """Measure -> how many answerable questions it could not score, because their reference has no word."""
    count = sum(one.kind == "answerable" and not squad_words(one.reference) for one in asked)
    return {"token_f1": count} if count else {}


def _precision(
    name: str, refused: Mapping[str, Sequence[bool]], answerable: Sequence[int], untold: Sequence[int]
) -> Measure:
    """How many of the refusals are right."""
    chosen = [(i, False) for i in answerable] + [(i, True) for i in untold]
    return Measure(
        name=name,
        parts={system: [float(values[i] and right) for i, right in chosen] for system, values in refused.items()},
        weights={system: [float(values[i]) for i, _ in chosen] for system, values in refused.items()},
    )


def citation_table(rows: Mapping[str, Sequence[float]], samples: int, seed: int) -> dict[str, dict[str, Any]]:
    """Measure -> mean and its 95% interval."""
    measures = [Measure(name=name, parts={"search": values}) for name, values in rows.items()]
    return compare_systems(measures, samples, seed).get("search", {})


def floor_report(asked: Sequence[Asked], found: Sequence[Found], floor: float) -> dict[str, Any]:
    """How the relevance floor parts the questions that the documents answer from those that they do not.

    Of each kind: the share that the floor lets through, the relevance's quantiles, and, against the answerable ones,
    the area under the ROC curve and the share declined by the highest floor that lets 90% of the answerable through.
    """
    values = {
        kind: np.array([o.evidence.relevance.passage for q, o in zip(asked, found, strict=True) if q.kind == kind])
        for kind in ORDER
    }
    answerable = values["answerable"]
    report: dict[str, Any] = {"min_relevance": floor}
    if len(answerable):
        report["lets_90_percent_through"] = lets_through(answerable.tolist(), KEPT)
    for kind, relevance in values.items():
        if not len(relevance):
            continue
        low, median, high = np.quantile(relevance, [0.1, 0.5, 0.9]).tolist()
        row = {"questions": len(relevance), "let_through": float((relevance >= floor).mean())}
        row |= {"quantile_10": low, "median": median, "quantile_90": high}
        if kind in ("removed", "off_topic") and len(answerable):
            row["auc"] = area_under_curve(answerable.tolist(), relevance.tolist())
            row["declined_where_90_percent_pass"] = float((relevance < report["lets_90_percent_through"]).mean())
        report[kind] = row
    return report


def lets_through(relevance: Sequence[float], share: float) -> float:
    """The highest floor that at least `share` of the values reach."""
    ordered = sorted(relevance)
    return ordered[int(np.floor((1 - share) * len(ordered) + 1e-9))]


def area_under_curve(higher: Sequence[float], lower: Sequence[float]) -> float:
    """How often a value of the first is above one of the second; ties count half. 0.5: not told apart."""
    first, second = np.array(higher)[:, None], np.array(lower)[None, :]
    return float((first > second).mean() + (first == second).mean() / 2)
