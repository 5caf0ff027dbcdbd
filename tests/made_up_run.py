"""A copy of the project that DVC takes for up to date, its outputs made up: to ask it what an edit makes stale."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.graph import ROOT

KEPT = ("stages", "documents", "constraints.txt", "dvc.yaml", "params.yaml", "prompts.yaml", ".dvcignore")


def dvc(place: Path, *arguments: str) -> str:
    """Runs dvc there; returns stdout."""
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def stale(place: Path) -> dict[str, list[Any]]:
    """Stage -> what DVC says has changed of it."""
    found: dict[str, list[Any]] = json.loads(dvc(place, "status", "--json"))
    return found


def make_up_to_date(place: Path) -> None:
    """Makes a file for every dep and output that is not there, and has DVC take all stages for run."""
    from dvc.repo import Repo  # type: ignore[import-untyped,unused-ignore]

    with Repo(str(place)) as repo:
        parts = [part for stage in repo.index.stages for part in (*stage.outs, *stage.deps)]
        paths = {Path(part.fs_path) for part in parts if hasattr(part, "fs_path")}
    for path in sorted(paths, key=lambda path: -len(path.parts)):  # what is inside a directory before it
        if not path.exists():
            file = path if path.suffix in (".json", ".jsonl", ".csv", ".npy") else path / "made_up"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(file.name)
    dvc(place, "commit", "--force", "--quiet")


def made_up_run(place: Path) -> Path:
    """Copies the project to `place` and makes it up to date."""
    place.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place / name)
    dvc(place, "init", "--no-scm", "--quiet")
    make_up_to_date(place)
    return place
