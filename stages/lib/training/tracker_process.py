"""A tracker in a process of its own: it is told lines of JSON and answers each with one.

trackers.py starts it, bounds its answers, and kills it when one does not come. So whatever a tracker does (wait for a
server, ask for a login, hang in a hook at its exit, break the interpreter) is done where no training waits for it.

Arguments: the tracker's name, the training's directory. The first answer comes unasked, when the package is imported.
First line: {"config", "mode"}, answered when the tracker is open. Then one line a step: {"step", "values"}. The last:
{"failed"}; a pipe that ends without it is a training that died. Answers: {} or what there is to say, {"error"} when
all is lost.
"""

import json
import os
import shutil
import sys
import time
import traceback
import uuid
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

from stages.lib.core.records import write_text

PROJECT = "llmill"  # in wandb, where WANDB_PROJECT does not say another
LITTLE = 100_000  # bytes free on a disk that is full
RUN_ID = "wandb_run_id"  # a file in the training's directory
ALONE = 15.0  # seconds to finish in, and to live at all, when the training has died


class _Tracker(Protocol):
    def about(self) -> dict[str, Any]: ...

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self, failed: bool) -> None: ...


class _DVCLive:
    """Files below `directory`/dvclive, written anew: who starts this tells the past first."""

    def __init__(self, dvclive: Any, directory: Path, config: Mapping[str, Any]) -> None:
        # The experiment is DVC's to save (`dvc exp run`), and dvc.yaml is ours.
        self._live = dvclive.Live(str(directory / "dvclive"), save_dvc_exp=False, dvcyaml=None, report=None)
        self._live.log_params(dict(config))

    def about(self) -> dict[str, Any]:
        return {}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._live.step = step
        for name, value in values.items():
            self._live.log_metric(name, value)
        self._live.make_summary()

    def close(self, failed: bool) -> None:
        self._live.end()


class _Wandb:
    """The training's run: its id lies in the training's directory, so that a resumed training goes on in it."""

    def __init__(self, wandb: Any, directory: Path, config: Mapping[str, Any], mode: str | None) -> None:
        self._wandb, self._directory = wandb, directory
        settings = {
            "console": "off",  # the training prints elsewhere
            "x_stats_pid": os.getppid(),  # whose use of the machine is to be seen
        }
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            group=os.environ.get("WANDB_RUN_GROUP") or f"{directory.parent.name}-{directory.name}",
            id=run_id(directory),
            resume="allow",
            dir=str(directory),
            config=dict(config),
            mode=mode,  # None: WANDB_MODE, else online
            settings=wandb.Settings(**settings),
        )

    def about(self) -> dict[str, Any]:
        if self._run.disabled:
            return {}
        offline = bool(self._run.offline)
        return {"offline": offline, "directory": self._run.settings.sync_dir, "url": "" if offline else self._run.url}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))
        self._wandb.teardown()  # its service writes the run's file after `finish` has returned
        if shutil.disk_usage(self._directory).free < LITTLE:  # of which it says nothing
            raise OSError(f"the disk of {self._directory} is full")


def run_id(directory: Path) -> str:
    """The id of the run of the training in this place, made at random at its first start.

    The directory's name would not do: two people who train the same thing have the same.
    """
    file = directory / RUN_ID
    known = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
    if not known:
        known = uuid.uuid4().hex[:16]
        write_text(file, known + "\n")
    return known


def _end_after(training: int) -> None:
    while os.getppid() == training:
        time.sleep(0.5)
    time.sleep(ALONE)
    os._exit(1)


def main() -> None:
    """Serves one tracker over stdin and stdout."""
    name, directory = sys.argv[1], Path(sys.argv[2])
    Thread(target=_end_after, args=[os.getppid()], daemon=True).start()
    told, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    # The tracker finds nobody to ask, and what it prints goes where its errors go: to the log.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    def answer(what: Mapping[str, Any]) -> None:
        print(json.dumps(what), file=answers, flush=True)

    try:
        # Optional, so no import that a type checker would look for.
        package: Any = import_module("dvclive") if name == "dvclive" else import_module("wandb")
        answer({})
        opening = json.loads(told.readline() or "null")
        if opening is None:
            return  # it was not needed
        tracker: _Tracker
        if name == "dvclive":
            tracker = _DVCLive(package, directory, opening["config"])
        else:
            tracker = _Wandb(package, directory, opening["config"], opening["mode"])
        answer(tracker.about())
        for line in told:
            message = json.loads(line)
            if "failed" in message:
                tracker.close(message["failed"])
                answer({})
                break
            tracker.log(message["step"], message["values"])
            answer({})
        else:
            tracker.close(failed=True)
    except BaseException as error:  # a tracker may raise SystemExit, too
        with suppress(OSError):  # a full disk
            traceback.print_exc()
        answer({"error": f"{type(error).__name__}: {error}"})
    finally:
        # Not by way of the hooks that packages register for the exit: they may wait for a server.
        os._exit(0)


if __name__ == "__main__":
    main()
