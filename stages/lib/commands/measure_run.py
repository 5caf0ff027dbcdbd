"""The benchmark's measures of any retrieval run, in TREC's formats: to set another system's run beside the benchmark's.

Run: python -m stages.lib.commands.measure_run --qrels FILE --run FILE

Qrels have lines of `query 0 document grade`, a run `query Q0 document rank score name`; the rank is not read, the order
is by score, as in trec_eval.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from stages.lib.ranking.measures import evaluate, mean_measures

Number = TypeVar("Number", int, float)


def read_trec(path: Path, fields: int, column: int, number: Callable[[str], Number]) -> dict[str, dict[str, Number]]:
    """Query -> document -> the number in a column of a TREC file; blank lines and comments (#) are left out.

    Args:
        path: the file.
        fields: columns that a line has; what stands behind them is not read, as in trec_eval.
        column: where the number stands.
        number: reads it; raises `ValueError`.

    Raises:
        ValueError: no such file, a line that does not fit, or a document that stands twice for a query.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    found: dict[str, dict[str, Number]] = {}
    for place, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        values = line.split()
        if not values or values[0].startswith("#"):
            continue
        if len(values) < fields:
            raise ValueError(f"{path}:{place}: expected {fields} fields, found {len(values)}: {line[:80]!r}")
        query, document = values[0], values[2]
        if document in found.setdefault(query, {}):
            raise ValueError(f"{path}:{place}: document {document!r} stands twice for query {query!r}")
        try:
            found[query][document] = number(values[column])
        except ValueError as error:
            raise ValueError(f"{path}:{place}: {error}") from error
    return found


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Query -> document -> grade. Raises as `read_trec`."""
    return read_trec(path, 4, 3, int)


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """Query -> document -> score. Raises as `read_trec`, and for a score that is NaN."""

    def score(text: str) -> float:
        if math.isnan(value := float(text)):
            raise ValueError(f"score {text!r} is not a number")
        return value

    return read_trec(path, 6, 4, score)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the mean of each measure over the queries."""
    parser = argparse.ArgumentParser(prog="python -m stages.lib.commands.measure_run", description="Measure a run.")
    parser.add_argument("--qrels", type=Path, required=True, help="which documents are relevant, in TREC's format")
    parser.add_argument("--run", type=Path, required=True, help="what a system retrieved, in TREC's format")
    parser.add_argument("--top-k", type=int, nargs="+", default=[1, 3, 5, 10], help="of accuracy; default: %(default)s")
    parser.add_argument("--level", type=int, default=1, help="lowest grade that is relevant; default: %(default)s")
    parser.add_argument("--complete", action="store_true", help="queries without results count 0 (trec_eval -c)")
    parsed = parser.parse_args(arguments)
    try:
        if min(parsed.top_k) < 1:
            raise ValueError(f"--top-k: {min(parsed.top_k)} is below 1")
        qrels, run = read_qrels(parsed.qrels), read_run(parsed.run)
        found = evaluate(qrels, run, parsed.top_k, parsed.level, parsed.complete)
    except ValueError as error:
        sys.exit(f"measure_run: {error}")
    print(f"{'queries':<16}{len(found):>8,}")
    for name, value in mean_measures(found).items():
        print(f"{name:<16}{value:>8.4f}")


if __name__ == "__main__":
    main()
