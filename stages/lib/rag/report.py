"""The measures of stage rag for people: a table for the terminal, the chart's title, and a row per question."""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.lib.answers.likeness import token_f1
from stages.lib.core.records import Record
from stages.lib.rag.measures import Found
from stages.lib.rag.questions import Asked, refuses


def caption(base: str, released: str, kinds: Mapping[str, int], system: str) -> str:
    """The chart's title: what was measured on what."""
    counted = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds.items())
    return f"{released} against {base} over the whole corpus, searched by {system}\nquestions: {counted}"


def reply_rows(
    asked: Sequence[Asked],
    found: Sequence[Found],
    replies: Mapping[str, Sequence[str]],
    similarities: Mapping[str, Sequence[float]],
    models: Sequence[str],
) -> list[Record]:
    """The rows of rag.csv: a question and a system."""
    rows = []
    for i, (question, one) in enumerate(zip(asked, found, strict=True)):
        for system, said in replies.items():
            first = one.shown[0] if one.shown else None
            right = any(not question.relevant.isdisjoint(names) for names in one.cited[:1])
            refused = not one.evidence.answerable or (system in models and refuses(question, said[i]))
            known = question.kind in ("answerable", "false_premise")
            f1 = token_f1(said[i], question.reference) if known else None
            rows.append(
                {
                    "id": question.id,
                    "kind": question.kind,
                    "system": system,
                    "question": question.question,
                    "reference": question.reference,
                    "reply": said[i],
                    "citation": first.text if first else "",
                    "chunk": " ".join(one.cited[0]) if one.cited else "",
                    "right_chunk": int(right) if known else None,
                    "relevance": round(one.evidence.relevance.passage, 4),
                    "above_floor": int(one.evidence.answerable),
                    "refused": int(refused),
                    "token_f1": None if f1 is None else round(f1, 6),
                    "embedding_similarity": similarities[system][i] if known else None,
                }
            )
    return rows


def report(metrics: Mapping[str, Any]) -> str:
    """A table for the terminal."""
    lines = [f"{'':<9}{'measure':<27}{'value':>7}{'95% interval':>18}{'difference':>12}{'p':>8}"]
    for system, rows in (metrics["systems"] | {"search": metrics["citations"]}).items():
        for name, row in rows.items():
            line = f"{system:<9}{name:<27}{_digits(row['value']):>7}{_interval(row):>18}"
            if row.get("p") is not None:
                line += f"{_digits(row['difference']):>12}{row['p']:>8.3f}"
            lines.append(line)
    floor = metrics["floor"]
    lines.append(f"chat.min_relevance {floor['min_relevance']} lets through:")
    for kind in metrics["kinds"]:
        row = floor[kind]
        told = f"  {kind:<14}{row['let_through']:>6.2f} of {row['questions']}, median relevance {row['median']:.3f}"
        if "auc" in row:
            share, level = row["declined_where_90_percent_pass"], floor["lets_90_percent_through"]
            told += f"; AUC {row['auc']:.3f}; {share:.2f} declined at {level:.3f}, which 90% of the answerable pass"
        lines.append(told)
    lines += [f"absent: {name}: {why}" for name, why in metrics["absent"].items()]
    for name, count in metrics["not_scored"].items():
        lines.append(f"{name}: without {count} questions whose reference has no word")
    return "\n".join(lines)


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(row: Mapping[str, Any]) -> str:
    return "" if row.get("low") is None else f"{row['low']:.3f} to {row['high']:.3f}"
