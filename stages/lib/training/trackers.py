"""What else is told of a training's steps besides its curve: DVCLive and Weights & Biases, by name.

Whatever can be known before the training (a name, a package) is an error before it. What a tracker does later costs
no training: each works in a process of its own (tracker_process.py), is told by a thread, and is waited for only as
long as the limits below say. Where wandb cannot go on with its server, at the start, in the middle or at the end, a
second process tracks the run offline, from its first step.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Condition, Thread
from typing import Any, BinaryIO, Protocol, get_args

from stages.lib.core.progress import say
from stages.lib.core.records import write_text
from stages.lib.curves.curves import Point
from stages.lib.training.training_params import Tracker

# Seconds that an answer may take. A server has `START`: with the imports before it and the start of the offline run
# behind it, what a user hears of comes within ten.
IMPORT, START, START_OFFLINE, ROW, FINISH = 60.0, 5.0, 30.0, 30.0, 15.0
PATIENCE = 1.5  # of START, until a process that can go on offline is got ready
CLOSE, ABANDON = 50.0, 3.0  # at the end of a training, in all; of one that failed


_Row = tuple[int, Mapping[str, float]]  # a step and its values


class _Told(Protocol):
    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class Trackers:
    """Several trackers as one; a `training.Log` by its method `log`."""

    def __init__(self, told: Mapping[str, _Told]) -> None:
        self._told = dict(told)
        self.failures: dict[str, str] = {}  # tracker -> what it died of

    def begin(self, name: str, tracker: Callable[[], _Told]) -> None:
        """Adds one, should it begin."""
        try:
            self._told[name] = tracker()
        except Exception as error:  # no process can be started
            self._failed(name, error, "at the start")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Tells the values of a step to every tracker that works."""
        for name, tracker in list(self._told.items()):
            try:
                tracker.log(step, values)
            except Exception as error:
                self._failed(name, error, f"at step {step}")

    def close(self, failed: bool = False) -> None:
        """Ends every tracker, `failed` if the training did; prints again which lack steps."""
        for name, tracker in list(self._told.items()):
            try:
                tracker.abandon() if failed else tracker.close()
            except Exception as error:
                self._failed(name, error, "at the end")
        self._told.clear()
        for name, failure in self.failures.items():
            say(f"tracker {name} lacks steps: {failure}; the curve has them all")

    def _failed(self, name: str, error: Exception, when: str) -> None:
        if not isinstance(error, _LostError):
            traceback.print_exception(error)
        self.failures[name] = f"failed {when}: {error}"
        say(f"tracker {name} {self.failures[name]}; the training goes on without it")
        self._told.pop(name, None)


class _LostError(Exception):
    """A process that has ended, reports an error, or does not answer in time; the message says which."""


class _Process:
    """One tracker_process.py and the conversation with it; only one message is ever on its way."""

    def __init__(self, name: str, directory: Path) -> None:
        command = [sys.executable, "-m", "stages.lib.training.tracker_process", name, str(directory.resolve())]
        self._command, self._pid = command, directory / f"{name}.pid"
        # The same packages are found as here, whatever was put on the path since the start.
        path = os.pathsep.join(filter(None, sys.path))
        with _opened(directory / f"{name}.log") as errors:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is for the training, and there is no terminal to ask at
            )
        self._read = b""

    def own(self) -> None:
        """Takes the run over; call it before the first message."""
        _end_earlier(self._pid, self._command)
        with suppress(OSError):
            write_text(self._pid, f"{self._child.pid}\n")

    def speaks(self, seconds: float) -> bool:
        """Whether an answer, or its end, comes within that time."""
        assert self._child.stdout
        return bool(select.select([self._child.stdout], [], [], seconds)[0])

    def tell(self, message: Mapping[str, Any]) -> None:
        """Sends a message, which is smaller than the pipe's buffer: this never waits."""
        assert self._child.stdin
        try:
            self._child.stdin.write(json.dumps(message, default=str).encode() + b"\n")
            self._child.stdin.flush()
        except OSError as error:
            raise _LostError(f"its process has ended ({error})") from error

    def answer(self, seconds: float, waited: float = 0.0) -> dict[str, Any]:
        """The next answer. Raises `_LostError` when there is none in time, or it is an error."""
        assert self._child.stdout
        until = time.monotonic() + seconds
        while b"\n" not in self._read:
            if not select.select([self._child.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                raise _LostError(f"no answer within {waited + seconds:.0f} s")
            part = os.read(self._child.stdout.fileno(), 65_536)
            if not part:
                raise _LostError(f"its process has ended, exit status {self._child.wait()}")
            self._read += part
        line, self._read = self._read.split(b"\n", 1)
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise _LostError(" ".join(str(found["error"]).split())[:300])
        return found

    def replaced(self) -> bool:
        """Whether a later training has the run now."""
        with suppress(OSError):
            return self._pid.read_text(encoding="utf-8") != f"{self._child.pid}\n"
        return False

    def close(self) -> None:
        """Ends the process; wandb's own service ends when it sees that."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe
            with suppress(OSError):  # what it had not read yet
                pipe.close()


class _Elsewhere:
    """A tracker in another process, told by a thread; nothing here waits for it but `close`, and that not for long."""

    def __init__(self, name: Tracker, directory: Path, config: Mapping[str, Any], past: Sequence[_Row]) -> None:
        self._name, self._directory, self._config = name, directory, config
        self._rows = list(past)
        self._failed: bool | None = None  # how the training ended
        self._changed = Condition()
        self._lost = ""
        self._process = _Process(name, directory)
        self._process.own()
        self._spare: _Process | None = None  # waits to go on offline
        self._thread = Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes a row to be told. Raises `_LostError` when the tracker is."""
        if self._lost:
            raise _LostError(self._lost)
        with self._changed:
            self._rows.append((step, dict(values)))
            self._changed.notify()

    def close(self) -> None:
        """Ends the run. Raises `_LostError` when the tracker is, or takes too long."""
        self._end(failed=False)
        self._thread.join(CLOSE)
        if self._thread.is_alive():
            self._lost = f"not done within {CLOSE:.0f} s"
            self._process.close()
        if self._lost:
            raise _LostError(self._lost)

    def abandon(self) -> None:
        """Ends the run of a training that failed. What is not done soon, the process does by itself (its `ALONE`)."""
        self._end(failed=True)
        self._thread.join(ABANDON)

    def _end(self, failed: bool) -> None:
        with self._changed:
            self._failed = failed
            self._changed.notify()

    def _work(self) -> None:
        try:
            online, why = self._serve(None)
            if online and why and not self._process.replaced():
                self._process, self._spare = self._spare or _Process(self._name, self._directory), None
                self._process.own()
                _, why = self._serve("offline", why)
        except Exception as error:  # no process can be started, say; a thread that ends in silence would lose steps
            why = repr(error)
        self._drop_spare()
        self._lost = self._lost or why

    def _drop_spare(self) -> None:
        if self._spare:
            self._spare.close()
        self._spare = None

    def _serve(self, mode: str | None, because: str = "") -> tuple[bool, str]:
        """Has a process track the run from its first step to its last.

        Returns whether another one might do better offline, and why it was lost ("": it was not).
        """
        try_offline = self._name == "wandb" and mode is None
        process = self._process
        with closing(process):
            try:
                process.answer(IMPORT)
                process.tell({"mode": mode, "config": self._config})
                if try_offline and not process.speaks(PATIENCE):
                    self._spare = _Process(self._name, self._directory)
                about = process.answer(START - PATIENCE, PATIENCE) if self._spare else process.answer(START_OFFLINE)
                try_offline = try_offline and about.get("offline") is False
                self._drop_spare()
                self._introduce(about, because)
                for message in self._messages():
                    process.tell(message)
                    process.answer(ROW)
                process.tell({"failed": self._failed})
                process.answer(FINISH)
            except _LostError as lost:
                return try_offline, str(lost)
        return False, ""

    def _messages(self) -> Iterator[dict[str, Any]]:
        """Every row, waiting for those to come, until the training ends."""
        sent = 0
        while True:
            with self._changed:
                while sent == len(self._rows) and self._failed is None:
                    self._changed.wait()
                if sent == len(self._rows):
                    return
                step, values = self._rows[sent]
            yield {"step": step, "values": values}
            sent += 1

    def _introduce(self, about: Mapping[str, Any], because: str) -> None:
        if about.get("offline"):
            why = f"not with {_server()}: {because}; tracked" if because else "tracked"
            say(f"tracker {self._name}: {why} offline; to send the run later: wandb sync {about['directory']}")
        elif about.get("url"):
            say(f"tracker {self._name}: {about['url']}")


def open_trackers(
    names: Sequence[Tracker],
    directory: Path,
    config: Mapping[str, Any],
    past: Sequence[Point] = (),
    scores: Mapping[int, Mapping[str, float]] | None = None,
) -> Trackers:
    """Opens trackers by name; call it in the main process alone. Returns at once: they get ready meanwhile.

    Args:
        names: which.
        directory: of the training; what is kept of the trackers lies there.
        config: what the run was made with, for the tracker's table.
        past: the curve's points so far, of a resumed training; those that were logged. Every tracker is told them
            again: what it has, it leaves out.
        scores: what else was told of these steps.

    Raises:
        ValueError: an unknown tracker, or its package is not installed.
    """
    for name in names:
        if name not in get_args(Tracker):
            raise ValueError(f"trackers: {name!r} is not known; write {' or '.join(get_args(Tracker))}")
        if find_spec(name) is None:
            raise ValueError(f"trackers: {name} is not installed: pip install {name}")
    directory.mkdir(parents=True, exist_ok=True)
    rows = [(point.step, {**point.values(), **(scores or {}).get(point.step, {})}) for point in past]
    trackers = Trackers({})
    for name in names:
        trackers.begin(name, partial(_Elsewhere, name, directory, config, rows))
    return trackers


def _end_earlier(file: Path, command: Sequence[str]) -> None:
    """Ends the tracker's process of a training that was killed, should it still be finishing: the run is ours now."""
    with suppress(OSError, ValueError):
        pid = int(file.read_text(encoding="utf-8"))
        if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1] == [part.encode() for part in command]:
            os.kill(pid, signal.SIGKILL)


def _opened(log: Path) -> BinaryIO:
    try:
        return log.open("ab")
    except OSError:  # a full disk
        return Path(os.devnull).open("ab")


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL") or "the server"
