"""An evaluation for people: a table for the terminal, and what the chart is called."""

from collections.abc import Mapping
from typing import Any


def caption(base: str, kinds: Mapping[str, int], judge: str, method: str) -> str:
    """The chart's title: what was measured on what."""
    counted = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds.items())
    return f"{base} on {sum(kinds.values())} held-out questions ({counted})\njudge: {judge}, by {method}"


def report(metrics: Mapping[str, Any], floor: int) -> str:
    """A table for the terminal; says so where fewer than `floor` questions were asked."""
    lines = [f"{'':<12}{'measure':<24}{'value':>7}{'95% interval':>18}{'difference':>12}{'95% interval':>18}{'p':>8}"]
    for system, rows in metrics["systems"].items():
        for name, found in rows.items():
            row, label = found, name
            if name == "forgetting":  # 1: the general text is as likely as before
                row = {"value": row["ratio"], "low": row["ratio_low"], "high": row["ratio_high"], "p": row["p"]}
                label = "perplexity, x base's"
            line = f"{system:<12}{label:<24}{_digits(row['value']):>7}{_interval(row, ''):>18}"
            if row.get("p") is not None:
                line += f"{_digits(row.get('difference')):>12}{_interval(row, 'difference_'):>18}{row['p']:>8.3f}"
            lines.append(line)
    lines += [f"absent: {name}: {why}" for name, why in metrics["absent"].items()]
    for name, count in metrics["not_scored"].items():
        lines.append(f"{name}: without {count} questions whose reference has no word")
    asked = metrics["questions"]["kept"]
    if asked < floor:
        lines.append(f"only {asked} questions: fewer than {floor} tell little; the test split has no more")
    return "\n".join(lines)


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(row: Mapping[str, Any], prefix: str) -> str:
    low, high = row.get(f"{prefix}low"), row.get(f"{prefix}high")
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
