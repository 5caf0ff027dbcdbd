"""Writes down what each stage's processes read and write: Python imports this file where its folder is on PYTHONPATH.

LLMILL_RECORD names a directory; without it nothing happens. The process of `python -m stages.NAME ARGUMENTS` and all
that it starts (workers, torchrun) append lines to files in it: time, stage, event, path or key or package. An audit
hook sees what Python opens, lists, renames and removes, which packages it imports, and `llmill.read`, by which
stages/lib/core/params.py tells the keys of the params files that were read.

Not seen, because they open files without Python: tokenizers (from_file), llama.cpp, PyMuPDF, pyarrow and SQLite (all
its files are in .cache/). safetensors do likewise and are wrapped here.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

ROOT = os.getcwd()  # noqa: PTH109 - pathlib would be imported in every process
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
NATIVE = "safetensors._safetensors_rust"


class Recorder:
    """Appends each new event to one file."""

    def __init__(self, directory: str, stage: str) -> None:
        self.stage = stage
        self.seen: set[tuple[str, str]] = set()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self.file = os.open(os.path.join(directory, f"{os.getpid()}_{time.time_ns()}.jsonl"), flags, 0o644)  # noqa: PTH118

    def note(self, event: str, what: str, to: str = "") -> None:
        """Writes one event, at once: a worker may be killed. What was read or written before is no news."""
        if event in ("read", "write", "list", "key", "import"):
            if (event, what) in self.seen:
                return
            self.seen.add((event, what))
        line = json.dumps([time.time_ns(), self.stage, event, what, to]) + "\n"
        os.write(self.file, line.encode())

    def path(self, event: str, path: Any, to: Any = "") -> None:
        """Notes an event of a path inside the project."""
        inside, target = _inside(path), _inside(to) if to else ""
        if inside:
            self.note(event, inside, target)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The audit hook."""
        if event == "open":
            path, mode, flags = arguments
            writes = any(sign in mode for sign in "wax+") if isinstance(mode, str) else bool((flags or 0) & WRITES)
            self.path("write" if writes else "read", path)
        elif event in ("os.listdir", "os.scandir"):
            self.path("list", arguments[0])
        elif event == "os.rename":
            self.path("rename", arguments[0], arguments[1])
        elif event in ("os.remove", "shutil.rmtree"):
            self.path("remove", arguments[0])
        elif event == "import":
            if "." not in arguments[0]:  # the package: its parts come after it
                self.note("import", arguments[0])
        elif event == "llmill.read":
            self.note("key", f"{arguments[0]}:{arguments[1]}")

    def wrap(self, module: ModuleType) -> None:
        """Lets safetensors tell which files they map and write."""
        opened, written = module.safe_open, module.serialize_file

        def safe_open(filename: Any, *arguments: Any, **named: Any) -> Any:
            self.path("read", filename)
            return opened(filename, *arguments, **named)

        def serialize_file(tensors: Any, filename: Any, *arguments: Any, **named: Any) -> Any:
            self.path("write", filename)
            return written(tensors, filename, *arguments, **named)

        module.__dict__.update(safe_open=safe_open, serialize_file=serialize_file)


class Finder(importlib.abc.MetaPathFinder):
    """Wraps safetensors' native module when it is imported."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """The usual spec, its loader followed by `wrap`."""
        if name != NATIVE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            self.recorder.wrap(module)

        spec.loader.__dict__["exec_module"] = exec_module
        return spec


def _inside(path: Any) -> str:
    """The path relative to the project; "" for others, and for file descriptors."""
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    elif not isinstance(path, str):
        try:
            path = os.fspath(path)
        except TypeError:
            return ""
    path = os.path.normpath(os.path.join(ROOT, path))  # noqa: PTH118
    return path[len(ROOT) + 1 :] if path.startswith(ROOT + os.sep) else ""


def stage_of(command: Sequence[str]) -> str:
    """DVC's name of the stage that `python -m stages.NAME ARGUMENTS` runs; "" for other commands."""
    for flag, module, *arguments in [command[i:] for i in range(len(command) - 1)]:
        if flag == "-m" and module.startswith("stages.") and module.count(".") == 1:
            return "@".join([module[7:], *(["-".join(arguments)] if arguments else [])])
    return ""


def start() -> None:
    """Begins to record, if this process belongs to a stage."""
    directory = os.environ.get("LLMILL_RECORD")
    stage = os.environ.get("LLMILL_RECORD_STAGE") or stage_of(sys.orig_argv)
    if not directory or not stage:
        return
    os.environ["LLMILL_RECORD_STAGE"] = stage
    recorder = Recorder(directory, stage)
    sys.meta_path.insert(0, Finder(recorder))
    sys.addaudithook(recorder.hook)


start()
