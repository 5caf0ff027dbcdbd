"""A trainer of transformers that goes on after kill -9 from the last checkpoint that it wrote to its end.

A training's result is the checkpoint of its last step: publishing, measuring and drawing start from those files, never
from what the trainer holds in memory.
"""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib.core.records import saving

if TYPE_CHECKING:  # its torch is loaded by who trains
    from stages.lib.launching.world import World

RESUMED_BY = ("optimizer.pt", "scheduler.pt", "rng_state*.pth", "training_args.bin")  # what another step would need


def last_whole_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint that was written to its end; those that a kill cut short are removed.

    The trainer writes trainer_state.json last: where that is whole, so is the rest.
    """
    whole: dict[int, Path] = {}
    for place in directory.glob("checkpoint-*"):
        step = int(place.name.rpartition("-")[2])
        try:
            state = json.loads((place / "trainer_state.json").read_text(encoding="utf-8"))
            if state["global_step"] != step:
                raise ValueError("another step's state")
        except (OSError, ValueError, KeyError):
            shutil.rmtree(place)
        else:
            whole[step] = place
    return whole[max(whole)] if whole else None


def step_of(checkpoint: Path | None) -> int:
    """The step that a checkpoint was written after; 0: there is none."""
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0


def train_on(trainer: Any, directory: Path) -> None:
    """Trains to the end from the last whole checkpoint in the directory on; the end is a checkpoint as well.

    Raises:
        ValueError: a checkpoint cannot be saved: the disk is full.
    """
    _know_numbered_cpus()
    checkpoint = last_whole_checkpoint(directory)
    again = "run again: the training goes on from its last whole checkpoint"
    with saving(directory, "a checkpoint", again):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


@cache
def _know_numbered_cpus() -> None:
    """Tells torch, once a process, what "cpu:0" is.

    Of several processes on CPUs transformers asks to load the moments there, which torch does not know.
    """
    import torch

    torch.serialization.register_package(100, lambda storage: None, _on_cpu)


def _on_cpu(storage: Any, location: str) -> Any:
    """A loaded storage, where `location` is a CPU with a number; else None: others know where it goes."""
    return storage if location.startswith("cpu:") else None


def train_once(directory: Path, steps: int, train: Callable[[], None], world: "World") -> Path:
    """The checkpoint of the last step: where there is none yet, `train` makes it; every process calls this.

    All that comes after a training reads it from there, so that whatever fails then costs no training.

    Raises:
        ValueError: the processes do not see the same directory.
    """
    if world.main:
        last_whole_checkpoint(directory)  # removes what is torn, before others look
    world.wait_for_main("checkpoints")
    done = step_of(last_whole_checkpoint(directory))
    world.agree("the last checkpoint", [directory.name, done])
    if done != steps:
        train()
    last = last_whole_checkpoint(directory)
    assert last and step_of(last) == steps, (directory, steps, last)
    return last


def logged(checkpoint: Path) -> list[dict[str, Any]]:
    """What the trainer logged up to a checkpoint, an entry a step."""
    content = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    history: list[dict[str, Any]] = content["log_history"]
    return [entry for entry in history if "loss" in entry]


def prune_finished(directory: Path) -> None:
    """Leaves of a finished training what publishing it again needs: the last checkpoint's adapter, and the log."""
    last = last_whole_checkpoint(directory)
    for place in directory.glob("checkpoint-*"):
        if place != last:
            shutil.rmtree(place)
        else:
            for name in RESUMED_BY:
                for file in place.glob(name):
                    file.unlink()
