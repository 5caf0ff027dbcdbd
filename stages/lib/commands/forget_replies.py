"""Drops what one model answered from `.cache/llm/ledger.sqlite`, so that it is asked anew: its replies and its scores.

The model is named as under `models:` in params.yaml, or by the source that an entry had (`server:gpt-x`; with a
revision `hub:ORG/NAME@REVISION`). Answers that an older version kept without their model's name get it when they are
used again; `--unnamed` drops those that have none.

DVC does not see the ledger: ask anew with `dvc repro --force --single-item STAGE`.

Run: python -m stages.lib.commands.forget_replies MODEL [--dry-run] [--unnamed]
"""

import argparse
import json
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

from stages.lib.cache.place import cache_dir
from stages.lib.core.params import PARAMS_FILE, read_yaml
from stages.lib.llm.asking import kept_name
from stages.lib.weights.models import load_model_entry

LEDGER = Path("llm") / "ledger.sqlite"
UNNAMED = ""


def name_of(model: str, params: Path = PARAMS_FILE) -> str:
    """The name that the ledger keeps: of an entry of `models:`, else the argument, which then has to be a source.

    Raises:
        ValueError: no such entry, and no source.
    """
    entries = read_yaml(params).get("models", {}) if params.is_file() else {}
    if model not in entries and ":" in model:
        return model
    return kept_name(load_model_entry(model, params))


def forget(ledger: Path, name: str, unnamed: bool, dry_run: bool) -> tuple[Counter[str], Counter[str]]:
    """Drops the answers of a name in one transaction; returns what was dropped (or would be), and all that was there.

    Both count by the kept name, with " scores" behind it for scores. A killed run drops all or nothing; what others
    write meanwhile waits.

    Raises:
        ValueError: there is no ledger.
    """
    if not ledger.is_file():
        raise ValueError(f"{ledger}: no such file; nothing was asked yet")
    there: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    with closing(sqlite3.connect(ledger, timeout=120, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        gone = []
        for key, value in database.execute("SELECT key, value FROM answers"):
            content = json.loads(value)
            kept = str(content.get("model", UNNAMED))
            kind = f"{kept} scores" if "logprobs" in content["answer"] else kept
            there[kind] += 1
            if kept == name or (unnamed and kept == UNNAMED):
                dropped[kind] += 1
                gone.append((key,))
        if not dry_run:
            database.executemany("DELETE FROM answers WHERE key = ?", gone)
        database.execute("COMMIT")
    return dropped, there


def told(dropped: Counter[str], there: Counter[str], name: str, dry_run: bool) -> str:
    """What was dropped and what stays, a line each."""
    replies = sum(count for kind, count in dropped.items() if not kind.endswith(" scores"))
    scores = dropped.total() - replies
    stay = there - dropped
    nameless = stay[UNNAMED] + stay[f"{UNNAMED} scores"]
    lines = [
        f"{name}: {'would drop' if dry_run else 'dropped'} {replies:,} replies and {scores:,} scores; "
        f"{stay.total():,} answers stay"
    ]
    if nameless:
        lines.append(f"{nameless:,} of them name no model: they get its name when they are used again (or --unnamed)")
    if not dropped:
        names = sorted({kind.removesuffix(" scores") for kind in there} - {UNNAMED})
        lines.append(f"the ledger has answers of: {', '.join(names) or 'no model'}")
    return "\n".join(lines)


def main() -> None:
    """Drops one model's answers and says how many."""
    parser = argparse.ArgumentParser(prog="python -m stages.lib.commands.forget_replies", description=__doc__)
    parser.add_argument("model", help="a name under models: in params.yaml, or a source")
    parser.add_argument("--dry-run", action="store_true", help="say what would be dropped, and drop nothing")
    parser.add_argument("--unnamed", action="store_true", help="also what names no model")
    arguments = parser.parse_args()
    name = name_of(arguments.model)
    dropped, there = forget(cache_dir() / LEDGER, name, arguments.unnamed, arguments.dry_run)
    print(told(dropped, there, name, arguments.dry_run))


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"forget_replies: {error}")
