"""What else is told of a training's steps besides its curve: DVCLive and Weights & Biases, by name.

Whatever can be known before the training (a name, a package) is an error before it. A tracker that fails later, when
a server or a disk does, must not cost the training: its traceback is printed at once, it is told nothing more, and
`close` names it again.
"""

import hashlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, assert_never, get_args

from stages.lib.training.curves import Point
from stages.lib.training.training_params import Tracker

PROJECT = "llmill"  # in wandb


class _Told(Protocol):
    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class Trackers:
    """Several trackers as one; a `training.Log` by its method `log`."""

    def __init__(self, told: Mapping[str, _Told]) -> None:
        self._told = dict(told)
        self.failures: dict[str, str] = {}  # tracker -> what it died of

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Tells the values of a step to every tracker that works."""
        for name, tracker in list(self._told.items()):
            try:
                tracker.log(step, values)
            except Exception as error:
                self._failed(name, error, f"at step {step}")

    def close(self) -> None:
        """Ends every tracker; prints again which failed."""
        for name, tracker in list(self._told.items()):
            try:
                tracker.close()
            except Exception as error:
                self._failed(name, error, "at the end")
        self._told.clear()
        for name, failure in self.failures.items():
            print(f"tracker {name} lacks steps: {failure}; the curve has them all", file=sys.stderr)

    def _failed(self, name: str, error: Exception, when: str) -> None:
        traceback.print_exception(error)
        self.failures[name] = f"failed {when}: {error}"
        print(f"tracker {name} {self.failures[name]}; the training goes on without it", file=sys.stderr)
        del self._told[name]


class _DVCLive:
    """Files below `directory`/dvclive, written anew from the curve's points: so a resumed run has no step twice."""

    def __init__(self, directory: Path, config: Mapping[str, Any], past: Sequence[Point]) -> None:
        dvclive: Any = import_module("dvclive")  # optional, so no import that a type checker would look for
        # The experiment is DVC's to save (`dvc exp run`), and dvc.yaml is ours.
        self._live = dvclive.Live(str(directory / "dvclive"), save_dvc_exp=False, dvcyaml=None, report=None)
        self._live.log_params(dict(config))
        for point in past:
            values = {"train_loss": point.train_loss, "lr": point.lr, "grad_norm": point.grad_norm}
            self.log(point.step, values | ({} if point.val_loss is None else {"val_loss": point.val_loss}))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._live.step = step
        for name, value in values.items():
            self._live.log_metric(name, value)
        self._live.make_summary()

    def close(self) -> None:
        self._live.end()


class _Wandb:
    """A run named by the training's directory, so that a resumed training goes on in it; WANDB_MODE is respected."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        self._wandb: Any = import_module("wandb")  # optional
        identity = hashlib.sha256(str(directory.name).encode()).hexdigest()[:16]
        self._run = self._wandb.init(
            project=PROJECT, id=identity, resume="allow", dir=str(directory), config=dict(config)
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()
        self._wandb.teardown()  # its service writes the run's file after `finish` has returned


def open_trackers(
    names: Sequence[Tracker], directory: Path, config: Mapping[str, Any], past: Sequence[Point] = ()
) -> Trackers:
    """Opens trackers by name; call it in the main process alone.

    Args:
        names: which.
        directory: of the training; its name is the run's.
        config: what the run was made with, for the tracker's table.
        past: the curve's points so far, of a resumed training.

    Raises:
        ValueError: an unknown tracker, or its package is not installed.
    """
    told: dict[str, _Told] = {}
    for name in names:
        if name not in get_args(Tracker):
            raise ValueError(f"trackers: {name!r} is not known; write {' or '.join(get_args(Tracker))}")
        if find_spec(name) is None:
            raise ValueError(f"trackers: {name} is not installed: pip install {name}")
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        match name:
            case "dvclive":
                told[name] = _DVCLive(directory, config, past)
            case "wandb":
                told[name] = _Wandb(directory, config)
            case _:
                assert_never(name)
    return Trackers(told)
