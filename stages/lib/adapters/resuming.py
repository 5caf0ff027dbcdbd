"""A trainer of transformers that goes on after kill -9 from the last checkpoint that it wrote to its end."""

import json
import shutil
from pathlib import Path
from typing import Any

from stages.lib.core.records import saving

RESUMED_BY = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin")  # what another step would need


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


def train_on(trainer: Any, directory: Path) -> int:
    """Trains to the end from the last whole checkpoint in the directory on; returns its step, 0: from the beginning.

    Raises:
        ValueError: a checkpoint cannot be saved: the disk is full.
    """
    checkpoint = last_whole_checkpoint(directory)
    again = "run again: the training goes on from its last whole checkpoint"
    with saving(directory, "a checkpoint", again):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0


def prune_finished(directory: Path) -> None:
    """Leaves of a finished training what publishing it again needs: the last checkpoint's adapter, and the log."""
    last = last_whole_checkpoint(directory)
    for place in directory.glob("checkpoint-*"):
        if place != last:
            shutil.rmtree(place)
        else:
            for name in RESUMED_BY:
                (place / name).unlink(missing_ok=True)
