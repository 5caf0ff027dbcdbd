"""Where what may be made again lies: the project's `.cache`."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """The project's `.cache`, or `LLMILL_CACHE`; a queued DVC experiment shares its project's cache."""
    if "LLMILL_CACHE" in os.environ:
        return Path(os.environ["LLMILL_CACHE"])
    here = Path.cwd()
    for parent in here.parents:
        if (parent / ".dvc" / "tmp" / "exps") in here.parents:
            return parent / ".cache"
    return here / ".cache"
