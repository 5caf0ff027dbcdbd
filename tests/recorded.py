"""What a recorded run (tests/recorder) read and wrote, beside what dvc.yaml says: differences of both, both ways."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PARAMS_FILES = ("params.yaml", "prompts.yaml", "dvc.yaml")  # by key, or to see what is tracked
# Read (or written) by all, and deciding no result: what the clock said, what is kept under keys of its own, docstrings.
FREE = (".cache", "timings", "bench/usual_seconds.json", "stages/__init__.py", "stages/lib/__init__.py")


@dataclass
class Record:
    """What one stage's processes did, paths relative to the project."""

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)  # and still there
    made: set[str] = field(default_factory=set)  # everything that was written, by every name that it had
    listed: set[str] = field(default_factory=set)  # directories
    keys: set[str] = field(default_factory=set)  # file:key
    imported: set[str] = field(default_factory=set)  # packages and modules at the top


@dataclass(frozen=True)
class Listed:
    """What dvc.yaml says of one stage, resolved."""

    deps: frozenset[str]
    outs: frozenset[str]  # metrics and plots too
    keys: frozenset[str]  # file:key


def read_records(directory: Path) -> dict[str, Record]:
    """Stage -> what it did; what was written under a temporary name counts by the name that it got in the end."""
    events = [json.loads(line) for file in directory.glob("*.jsonl") for line in file.read_text().splitlines()]
    records: dict[str, Record] = defaultdict(Record)
    for _, stage, event, what, to in sorted(events):
        record = records[stage]
        if event == "read":
            record.read.add(source_of(what))
        elif event == "write" and "__pycache__" not in what:
            record.written.add(what)
            record.made.add(what)
        elif event == "list":
            record.listed.add(what)
        elif event == "key":
            record.keys.add(what)
        elif event == "import":
            record.imported.add(what)
        elif event == "remove":
            record.written = {path for path in record.written if not below(path, [what])}
        elif event == "rename" and to:
            record.written, record.read, record.listed = (
                {to + path[len(what) :] if below(path, [what]) else path for path in paths}
                for paths in (record.written, record.read, record.listed)
            )
            record.made |= record.written
    return dict(records)


def source_of(path: str) -> str:
    """The source of a compiled module; other paths are themselves."""
    file = Path(path)
    if file.suffix == ".pyc" and file.parent.name == "__pycache__":
        return str(file.parent.parent / f"{file.name.partition('.')[0]}.py")
    return path


def listed_stages(project: Path) -> dict[str, Listed]:
    """Stage -> what dvc.yaml lists for it, as DVC resolves it."""
    from dvc.dependency.param import ParamsDependency  # type: ignore[import-untyped,unused-ignore]
    from dvc.repo import Repo  # type: ignore[import-untyped,unused-ignore]

    found = {}
    with Repo(str(project)) as repo:
        for stage in repo.index.stages:
            params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
            found[stage.name] = Listed(
                deps=frozenset(dep.def_path for dep in stage.deps if dep not in params),
                outs=frozenset(out.def_path for out in stage.outs),
                keys=frozenset(f"{dep.def_path}:{key}" for dep in params for key in dep.params),
            )
    return found


def below(path: str, places: Iterable[str]) -> bool:
    """Whether a path is one of the places or inside of one."""
    return any(path == place or path.startswith(f"{place}/") for place in places)


def covers(one: str, other: str) -> bool:
    """Whether a key holds another, or is it."""
    return other == one or other.startswith(f"{one}.")


def differences(record: Record, listed: Listed) -> dict[str, set[str]]:
    """What a stage did and dvc.yaml does not say, and what dvc.yaml says and the stage did not do; empty where none."""
    # Rooms that this run had no use for (another backend) are held by test_dvc_yaml.py.
    deps = {dep for dep in listed.deps if not dep.startswith("stages/")}
    allowed = [*listed.deps, *listed.outs, *FREE, *PARAMS_FILES]
    seen = record.read | record.listed
    found = {
        "reads, no dep": {path for path in record.read - record.made if not below(path, allowed)},
        "lists, no dep": {
            path for path in record.listed if not below(path, [*allowed, "stages"]) and not parent(path, allowed)
        },
        "writes, no out": {path for path in record.written if not below(path, [*listed.outs, *FREE])},
        "dep, not read": {dep for dep in deps if not any(below(path, [dep]) for path in seen)},
        "out, not written": {out for out in listed.outs if not any(below(path, [out]) for path in record.written)},
        "key read, not tracked": {key for key in record.keys if not any(covers(one, key) for one in listed.keys)},
        "key tracked, not read": {
            key for key in listed.keys if not any(covers(key, one) or covers(one, key) for one in record.keys)
        },
    }
    return {what: paths for what, paths in found.items() if paths}


def parent(path: str, places: Iterable[str]) -> bool:
    """Whether a directory holds one of the places: it is listed on the way there."""
    return any(place.startswith(f"{path}/") for place in places)
