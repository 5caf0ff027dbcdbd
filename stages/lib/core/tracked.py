"""Files that a user names in params.yaml and a stage reads: tracked by DVC, or refused with what to do.

DVC notices a change of a file only where it is one of the stage's deps in dvc.yaml or inside of one. A file that is
neither would leave an old result standing, so `python -m stages.NAME` refuses it. Outside of a stage (tests, commands)
and where there is no dvc.yaml, nothing is checked.

DVC follows links to files and a dep that is a link itself; it does not follow links to folders inside of a dep.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from stages.lib.core.params import PARAMS_FILE, read_yaml

GRAPH_FILE = Path("dvc.yaml")
DOCUMENTS = "documents"


def check_tracked(paths: Iterable[Path], named_by: str) -> None:
    """Checks that DVC tracks what the running stage is about to read.

    Args:
        paths: files, or directories that are read as a whole.
        named_by: the key and the value that name them, for the message.

    Raises:
        ValueError: one is neither a dep of the stage nor inside of one.
    """
    stage = running_stage()
    if not stage or not GRAPH_FILE.is_file() or (deps := stage_deps(stage)) is None:
        return
    missing = untracked(paths, deps)
    if missing:
        raise ValueError(f"{named_by}: {_complaint(missing, stage, deps)}")


def check_declared(paths: Iterable[Path], named_by: str) -> None:
    """Checks that dvc.yaml declares what the running stage will write: DVC neither keeps nor restores anything else.

    Args:
        paths: files whose names come from params.
        named_by: the key that names them, for the message.

    Raises:
        ValueError: one is no output of the stage.
    """
    stage = running_stage()
    body = (read_yaml(GRAPH_FILE).get("stages") or {}).get(stage) if stage and GRAPH_FILE.is_file() else None
    if body is None:
        return
    # A loop's item may be any name.
    outs = ["[^/]+".join(map(re.escape, re.split(r"\$\{[^}]*\}", str(out)))) for out in body.get("outs") or []]
    for path in paths:
        if not any(re.fullmatch(f"{out}(/.*)?", str(path)) for out in outs):
            raise ValueError(
                f"{named_by}: {path} is no output of stage {stage} in {GRAPH_FILE}, so DVC would lose it; add it to "
                "its outs, with ${item. ...} where the loop's name stands"
            )


def running_stage() -> str | None:
    """NAME where this process is `python -m stages.NAME`."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    match = re.fullmatch(r"stages\.(\w+)", spec.name if spec else "")
    return match[1] if match else None


def stage_deps(stage: str) -> list[str] | None:
    """The deps of a stage in dvc.yaml, ${section.key} filled in; None where dvc.yaml has no such stage."""
    body = (read_yaml(GRAPH_FILE).get("stages") or {}).get(stage)
    if body is None:
        return None
    params = read_yaml(PARAMS_FILE) if PARAMS_FILE.is_file() else {}
    deps = [_filled(str(dep), params) for dep in body.get("deps") or []]
    return [dep for dep in deps if "${" not in dep]  # what hangs on the loop's item is no file of the user's


def untracked(paths: Iterable[Path], deps: Iterable[str]) -> list[Path]:
    """Those of the paths that are neither one of the deps nor inside of one as DVC walks it."""
    places = [Path(os.path.abspath(dep)) for dep in deps]  # noqa: PTH100 - resolve() would follow links
    real_places = [place.resolve() for place in places]

    @cache
    def is_walked(folder: Path) -> bool:
        """Whether DVC comes to the folder, from a dep down through real folders."""
        if folder in places:
            return True
        return folder.parent != folder and not folder.is_symlink() and is_walked(folder.parent)

    def is_tracked(path: Path) -> bool:
        place = Path(os.path.abspath(path))  # noqa: PTH100
        if place in places or (is_walked(place.parent) and not (place.is_symlink() and place.is_dir())):
            return True
        return any(place.resolve().is_relative_to(real) for real in real_places)

    return [path for path in paths if not is_tracked(path)]


def files_below(directory: Path) -> Iterator[Path]:
    """Every file of a directory, behind links too."""
    for folder, _, names in os.walk(directory, followlinks=True):
        yield from (Path(folder, name) for name in names)


def _filled(dep: str, params: dict[str, Any]) -> str:
    def value(match: re.Match[str]) -> str:
        found: Any = params
        for part in match[1].split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return found if isinstance(found, str) else match[0]

    return re.sub(r"\$\{([\w.-]+)\}", value, dep)


def _complaint(missing: list[Path], stage: str, deps: list[str]) -> str:
    first = missing[0]
    link = next((folder for folder in first.parents if folder.is_symlink()), None)
    add = link or (first if len(missing) == 1 else Path(os.path.commonpath([file.parent for file in missing])))
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    why = f", as DVC does not follow the linked folder {link}" if link else ""
    move = f"put it under {DOCUMENTS}/, or " if DOCUMENTS in deps and not link else ""
    return (
        f"DVC does not track {first}{more} for stage {stage}{why}: an edit of it would leave the old result standing; "
        f"{move}add `- {add}` to the deps of {stage} in {GRAPH_FILE}"
    )
