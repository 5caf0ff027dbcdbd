"""The files that glob patterns match."""

import glob
from pathlib import Path

from stages.lib.core.tracked import check_tracked


def matched_files(patterns: list[str]) -> list[Path]:
    """The files that the patterns match, each once, sorted by path.

    Raises:
        ValueError: a pattern matches no file, or one that DVC does not track for the running stage.
    """
    found: set[str] = set()
    for i, pattern in enumerate(patterns):
        # Path.glob takes no absolute patterns.
        matches = [match for match in glob.glob(pattern, recursive=True) if Path(match).is_file()]  # noqa: PTH207
        if not matches:
            raise ValueError(f"patterns[{i}]: {pattern!r} matches no file")
        check_tracked([Path(match) for match in sorted(matches)], f"patterns[{i}]: {pattern!r}")
        found.update(matches)
    return [Path(match) for match in sorted(found)]
