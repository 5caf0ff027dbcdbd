"""The last line of a stage: what came in, what was kept, why the rest was dropped, and where the result lies."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def ending(stage: str, counts: Mapping[str, Any], unit: str, made: str, place: Path | str) -> str:
    """One line: "chunk: 1,264 documents -> 508 kept; dropped 712 short_docstring; 1,234 chunks in data/chunks".

    Args:
        stage: with its loop values: "judge JUDGE GENERATOR".
        counts: `in`, `kept` and `dropped` by reason, as `check_counts` returns them; reasons that dropped nothing are
            not named, the others stand with the largest first.
        unit: of what came in, in the plural: "documents".
        made: what was made of it: "1,234 chunks".
        place: the file or the folder that it lies in.
    """
    dropped = {reason: n for reason, n in counts["dropped"].items() if n}
    assert counts["in"] == counts["kept"] + sum(dropped.values()), (stage, counts)
    reasons = [f"{n:,} {reason}" for reason, n in sorted(dropped.items(), key=lambda item: (-item[1], item[0]))]
    account = f"{counts['kept']:,} kept; dropped {', '.join(reasons)}" if reasons else "all kept"
    return f"{stage}: {counts['in']:,} {unit} -> {account}; {made} in {Path(place).as_posix()}"


def all_kept(count: int) -> dict[str, Any]:
    """The counts of a stage that drops nothing."""
    return {"in": count, "kept": count, "dropped": {}}


def summed(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The counts of several parts (splits, sources) as one."""
    total: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for part in parts:
        total.update({"in": part["in"], "kept": part["kept"]})
        dropped.update(part["dropped"])
    return {"in": total["in"], "kept": total["kept"], "dropped": dict(dropped)}
