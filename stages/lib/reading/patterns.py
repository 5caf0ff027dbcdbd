"""The files that glob patterns match."""

import glob
import os
from pathlib import Path

from stages.lib.core.tracked import check_tracked

README, FIRST_LINE = Path("documents/README.md"), b"# Your documents"


def matched_files(patterns: list[str]) -> list[Path]:
    """The files that the patterns match, each once, sorted by path.

    The README that comes with the folder `documents` is none of them. What is reached twice, through links of folders
    that lead in a circle, counts by its shortest path.

    Raises:
        ValueError: a pattern matches no file, or one that DVC does not track for the running stage.
    """
    found: dict[str, str] = {}  # the real file -> its path
    for i, pattern in enumerate(patterns):
        # Path.glob takes no absolute patterns.
        files = [match for match in glob.glob(pattern, recursive=True) if Path(match).is_file()]  # noqa: PTH207
        matches = [file for file in files if not _is_our_readme(Path(file))]
        if not matches:
            ours = f" but {files[0]}, which comes with the project and is no document" if files else ""
            raise ValueError(f"patterns[{i}]: {pattern!r} matches no file{ours}")
        check_tracked([Path(match) for match in sorted(matches)], f"patterns[{i}]: {pattern!r}")
        for match in sorted(matches, key=lambda match: (len(match), match)):
            found.setdefault(os.path.realpath(match), match)
    return [Path(match) for match in sorted(found.values())]


def _is_our_readme(path: Path) -> bool:
    """Whether a file is documents/README.md as it comes with the project; a user's own text there is a document."""
    if path.name != README.name or path.resolve() != README.resolve():
        return False
    with path.open("rb") as file:
        return file.readline().strip() == FIRST_LINE
