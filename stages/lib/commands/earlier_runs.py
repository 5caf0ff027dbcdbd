"""Which metric files are of an earlier run: their stage read other data, params or code than what stands there now.

After `dvc repro benchmark` on own documents the metrics of the stages behind it are still those of the run before.
DVC knows: a stage is behind if `dvc status` says that what it depends on was changed, or if it reads from such a stage.
A file that is not there (a fresh clone has no data) is no change.
"""

import json
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from stages.lib.core.params import read_yaml

LOCK_FILE = Path("dvc.lock")
_GONE = ("deleted", "not in cache")


def earlier_files(directory: Path) -> dict[Path, str]:
    """Metric file below `directory` -> the stage that would write it anew; empty where DVC cannot tell."""
    if not LOCK_FILE.exists():
        return {}
    status = _dvc("status", "--json")
    names = _dvc("stage", "list", "--name-only")
    if status is None or names is None:
        return {}
    locked = read_yaml(LOCK_FILE).get("stages", {})
    behind = behind_stages(json.loads(status), locked, names.split())
    return {
        Path(path): name
        for name in locked
        if name in behind
        for path in _paths(locked[name], "outs")
        if Path(path).parent == directory
    }


def behind_stages(status: Mapping[str, Any], locked: Mapping[str, Any], names: Collection[str]) -> set[str]:
    """The stages of dvc.lock that ran on other data, params or code, or read from one that did.

    Args:
        status: what `dvc status --json` says.
        locked: the stages of dvc.lock.
        names: the stages that the graph has now.
    """
    gone = {name for name in locked if name not in names}  # what reads a folder with their files may have run since
    behind = {name for name in locked if _is_changed(status.get(name, []))} - gone
    while True:
        paths = [path for name in behind for path in _paths(locked[name], "outs")]
        further = {
            name
            for name in locked
            if name not in behind | gone
            and any(_meet(dep, path) for dep in _paths(locked[name], "deps") for path in paths)
        }
        if not further:
            return behind | gone
        behind |= further


def _is_changed(told: list[Any]) -> bool:
    """Whether the command, or a dependency or param that is there, is another one now."""
    for part in told:
        if part == "changed command":
            return True
        changes = part.get("changed deps", {}) if isinstance(part, dict) else {}
        for change in changes.values():
            if isinstance(change, dict) or change not in _GONE:  # a dict: params by key
                return True
    return False


def _paths(stage: Mapping[str, Any], kind: str) -> list[str]:
    return [entry["path"] for entry in stage.get(kind, [])]


def _meet(dep: str, out: str) -> bool:
    a, b = PurePosixPath(dep), PurePosixPath(out)
    return a.is_relative_to(b) or b.is_relative_to(a)


def _dvc(*arguments: str) -> str | None:
    """What `dvc` prints; None where it fails or is not installed."""
    try:
        ended = subprocess.run(["dvc", *arguments], check=False, capture_output=True, text=True, timeout=600)
    except OSError:
        return None
    return ended.stdout if ended.returncode == 0 else None
