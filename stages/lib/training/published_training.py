"""A training from its first step to what is published of it; pretrain and finetune differ in what they bring."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.lib.cache.place import cache_dir
from stages.lib.core.metrics import Stopwatch
from stages.lib.training.curve_picture import publish_curve
from stages.lib.training.curves import Curve
from stages.lib.training.distributed import World, open_world, start_processes
from stages.lib.training.out_of_memory import advised, check_fits, named
from stages.lib.training.trackers import open_trackers
from stages.lib.training.training import Training
from stages.lib.training.validation_loss import Batches


@dataclass(frozen=True, kw_only=True)
class Published:
    """Where a stage declares what it shows of its training."""

    curve: Path  # a CSV
    picture: Path  # of the curve, a PNG
    checkpoints: Mapping[str, Path]  # `best`, `last` -> directory


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that is over, as the main process knows it."""

    train_loss: float  # of the last step, nats per target
    figures: dict[str, float]  # for the timings


def run_in_processes(name: str, processes: int, body: Callable[[World, Stopwatch], dict[str, Any]]) -> None:
    """Runs a stage's body in so many processes; the main one writes its timings, with the figures.

    Raises:
        ValueError: as the body does.
    """
    start_processes(processes, f"stages.{name}")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "inductor"))
    watch = Stopwatch(name)
    with named(name), open_world() as world:
        figures = body(world, watch)
        if world.main:
            watch.write(**figures)


def train_and_publish(
    name: str,
    training: Training,
    train: Batches,
    held_out: Batches,
    watch: Stopwatch,
    *,
    about: str,
    published: Published,
    measure: Callable[[int], Mapping[str, float]] | None = None,
    width: int = 0,
) -> Finished | None:
    """Trains to the end from where the training is, then publishes curve and checkpoints; every process calls it.

    Args:
        name: of the stage.
        training: at its beginning or at a checkpoint.
        train: what it learns from.
        held_out: what it is validated on, the first `training.val_sequences`.
        watch: gets the lap `train`.
        about: of model and data, for the line that says what begins.
        published: what goes where.
        measure: more to tell the trackers of a logged step; the main process asks for it.
        width: tokens of the longest row; 0: the model's context.

    Returns:
        What came of it; None in a process other than the main one, which publishes nothing.

    Raises:
        ValueError: a loss that is not finite, a full disk, or memory that does not suffice.
    """
    world, params, directory = training.world, training.params, training.store.directory
    if training.step < params.steps:
        check_fits(training, width)
    with advised(name, training):
        training.measure_best_again(held_out)
    resumed = training.step
    if world.main:
        again = f", goes on from step {resumed}" if resumed else ""
        precision = training.precision + training.precision_why
        print(f"{name}: {about}, {training.sequences} sequences per step, {precision}{again}", flush=True)
    curve = Curve(directory / "curve.csv", resumed) if world.main else None
    # What trackers are told, the main process tells.
    told = asdict(params) | dict(training.decisive) | {"precision": training.precision}  # `auto` has been decided
    trackers = open_trackers(params.trackers if curve else [], directory, told, curve.points if curve else [])

    def log(step: int, row: Mapping[str, float]) -> None:
        trackers.log(step, {**row, **(measure(step) if measure and world.main else {})})

    def validate() -> float:
        return training.mean_loss(held_out, training.val_sequences)

    with advised(name, training):
        speed = training.run(train, validate, curve, log, name=name)
    trackers.close()
    watch.lap("train")
    if curve is None:
        return None
    publish_curve(curve.points, params.log_every, published.curve, published.picture)
    for which, place in published.checkpoints.items():
        training.store.publish(which, place)
    training.store.prune_finished()
    share = speed.matmul_share
    figures = {
        "resumed_from_step": resumed,
        "tokens_per_second": speed.tokens_per_second,
        "padding": 1 - speed.tokens / speed.positions if speed.positions else 0.0,
        "matmul_peak_gflops": speed.peak / 1e9,
    } | ({} if share is None else {"matmul_share": share})
    return Finished(train_loss=curve.points[-1].train_loss, figures=figures)
