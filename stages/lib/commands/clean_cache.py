"""`make clean-cache`: removes from `.cache/` what no run of this code goes on from, and says what it frees.

Of the trainings of each stage the last used one stays, finished or not; of converted weights the last conversion.
Ledgers stay: what they hold was paid for. What is removed costs time to make again, and no result.

Run: python -m stages.lib.commands.clean_cache [--dry-run]
"""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from stages.lib.cache.place import cache_dir

TRAININGS = ("shard", "pretrain", "finetune", "qlora", "grpo")
REMADE = ("inductor", "gguf")  # compiled kernels; a conversion on its way to a GGUF
MB = 10**6


class Found(NamedTuple):
    """Something in the cache."""

    path: Path
    size: int  # bytes
    kept: bool
    what: str


def survey(cache: Path) -> Iterator[Found]:
    """Everything in the cache, with what becomes of it."""
    for stage in TRAININGS:
        places = sorted((cache / stage).glob("*"), key=lambda place: place.stat().st_mtime)
        for place in places:
            last = place == places[-1]
            yield Found(place, size_of(place), last, f"{stage}, last used" if last else f"{stage}, an earlier one")
    converted = sorted((cache / "models").glob("*"), key=lambda place: place.stat().st_mtime)
    newest = {place.name.partition("-")[0]: place for place in converted}  # of each file, by its hash
    for place in converted:
        kept = place in newest.values()
        yield Found(place, size_of(place), kept, "converted weights" + ("" if kept else ", an earlier conversion"))
    for name in REMADE:
        if (cache / name).exists():
            yield Found(cache / name, size_of(cache / name), False, "made again when it is needed")
    for place in sorted(cache.glob("*/ledger.sqlite")):
        yield Found(place, size_of(place), True, "paid for")


def size_of(place: Path) -> int:
    """Bytes of a file, or of all files in a directory."""
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def clean(cache: Path, dry_run: bool) -> str:
    """Removes what `survey` does not keep; returns what was removed, what stays, and the sums."""
    lines, freed, left = [], 0, 0
    for found in survey(cache):
        lines.append(
            f"{'keep' if found.kept else 'free':<5}{found.size / MB:>10.1f} MB  {found.path.relative_to(cache)}"
            f"  ({found.what})"
        )
        if found.kept:
            left += found.size
            continue
        freed += found.size
        if not dry_run:
            shutil.rmtree(found.path) if found.path.is_dir() else found.path.unlink()
    verb = "would free" if dry_run else "freed"
    return "\n".join([*lines, f"{cache.name}: {verb} {freed / MB:.1f} MB, {left / MB:.1f} MB stay"])


def main() -> None:
    """Cleans the project's cache."""
    parser = argparse.ArgumentParser(prog="python -m stages.lib.commands.clean_cache", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="say what would be freed, and free nothing")
    print(clean(cache_dir(), parser.parse_args().dry_run))


if __name__ == "__main__":
    main()
