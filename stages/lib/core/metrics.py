"""Metric files (in git: what the result is), timing files (not in git: what the clock said), a stage's last line.

A stage has two metric files. `metrics/<name>.json` has its headline: the few numbers that one compares between
experiments, each a column of `dvc exp show`. `metrics/full/<name>.json` has all that was measured, as a list of one
object: to DVC a list is no metric, so it makes no columns, while a file under `metrics:` is in git and leaves the run
cache on (a plain output with `cache: false` would turn it off, and under `plots:` it would be drawn).
"""

import math
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.lib.core import progress
from stages.lib.core.records import read_json, write_json

METRICS_DIR = Path("metrics")
FULL_DIR = METRICS_DIR / "full"
TIMINGS_DIR = Path("timings")
SIGNIFICANT_DIGITS = 6

Headline = Callable[[dict[str, Any]], dict[str, Any]]  # of the results, rounded


def write_metrics(name: str, results: dict[str, Any], headline: Headline | None = None) -> None:
    """Writes `metrics/full/<name>.json` and, by `headline`, `metrics/<name>.json`.

    Floats are rounded to 6 significant digits so that a diff means a change; `headline` gets the rounded results.

    Args:
        name: of the stage, with its loop values: `judge_JUDGE_GENERATOR`.
        results: all that was measured.
        headline: makes the few numbers (or short texts) of the results that are a metric of DVC's, under the stage's
            name, so that a column is called `pretrain.val_loss`. None: the stage has none; a later one measures it.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    content = _rounded(results, name)
    shown = _rounded(headline(content), name) if headline else None
    write_json(FULL_DIR / f"{name}.json", [content])
    if shown is not None:
        write_json(METRICS_DIR / f"{name}.json", shown)


def read_results(name: str, project: Path = Path()) -> dict[str, Any]:
    """All that a stage measured, as `write_metrics` wrote it; `project` is the folder that holds metrics/.

    Raises:
        ValueError: there is no such file, or it is not one of these.
    """
    path = project / FULL_DIR / f"{name}.json"
    content = read_json(path, hint="`dvc repro` makes it")
    if not (isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict)):
        raise ValueError(f"{path}: expected a list of one object; run the stage again")
    results: dict[str, Any] = content[0]
    return results


def check_counts(total: int, kept: int, dropped: dict[str, int]) -> dict[str, Any]:
    """Returns {in, kept, dropped} after checking that in = kept + dropped by each reason."""
    assert total == kept + sum(dropped.values()), (total, kept, dropped)
    return {"in": total, "kept": kept, "dropped": dict(sorted(dropped.items()))}


def ending(stage: str, counts: Mapping[str, Any], unit: str, made: str, place: Path | str, *, why: str = "") -> str:
    """One line: "chunk: 1,264 documents -> 508 kept; dropped 712 short_docstring; 1,234 chunks in data/chunks".

    Args:
        stage: with its loop values: "judge JUDGE GENERATOR".
        counts: `in`, `kept` and `dropped` by reason, as `check_counts` returns them; reasons that dropped nothing are
            not named, the others stand with the largest first.
        unit: of what came in, in the plural: "documents".
        made: what was made of it: "1,234 chunks".
        place: the file or the folder that it lies in.
        why: what else there is to say of what was dropped; stands behind the reasons in brackets.
    """
    dropped = {reason: n for reason, n in counts["dropped"].items() if n}
    assert counts["in"] == counts["kept"] + sum(dropped.values()), (stage, counts)
    reasons = [f"{n:,} {reason}" for reason, n in sorted(dropped.items(), key=lambda item: (-item[1], item[0]))]
    account = (
        f"{counts['kept']:,} kept; dropped {', '.join(reasons)}{f' ({why})' if why else ''}" if reasons else "all kept"
    )
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


def _rounded(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return {str(key): _rounded(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"metric {where} is {value}")
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    return value


class Stopwatch:
    """Measures one run of a stage; `write()` puts seconds, rates and peak memory into timings/.

    In a stage that has begun by `progress.begin` the time from there on counts, imports as a part of their own, and
    each lap tells what part the stage is in.
    """

    def __init__(self, name: str, parts: Sequence[str] = ()) -> None:
        """Of the stage `name`, with its loop values; `parts`: its laps, where they depend on its params."""
        if parts:
            progress.plan(parts)
        self.name = name
        self._last = time.perf_counter()
        self.start = progress.past_imports(default=self._last)
        self.parts = {progress.IMPORTS: self._last - self.start} if self.start < self._last else {}

    def lap(self, part: str) -> None:
        """Adds the seconds since the last lap to the named part."""
        now = time.perf_counter()
        self.parts[part] = self.parts.get(part, 0.0) + now - self._last
        self._last = now
        progress.part_ended(part)

    def write(self, **figures: float) -> None:
        """Writes `timings/<name>.json`."""
        # ru_maxrss is in kilobytes on Linux and in bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        write_json(
            TIMINGS_DIR / f"{self.name}.json",
            {
                "seconds": round(time.perf_counter() - self.start, 3),
                "parts": {part: round(seconds, 3) for part, seconds in self.parts.items()},
                "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1),
                **figures,
            },
        )


def timings_table(directory: Path = TIMINGS_DIR) -> str:
    """One line a stage: seconds and peak memory, for `make timings`."""
    rows = [(path.stem, read_json(path)) for path in sorted(directory.glob("*.json"))]
    lines = [f"{'stage':<58}{'seconds':>9}{'peak MB':>9}  parts"]
    for name, timing in rows:
        parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in timing["parts"].items())
        lines.append(f"{name:<58}{timing['seconds']:>9.1f}{timing['peak_memory_mb']:>9.0f}  {parts}")
    lines.append(f"{'sum':<58}{sum(timing['seconds'] for _, timing in rows):>9.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(timings_table())
