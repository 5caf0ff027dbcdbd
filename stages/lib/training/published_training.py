"""A training from its first step to what is published of it; pretrain and finetune differ in what they bring."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from stages.lib.cache.place import cache_dir
from stages.lib.core.metrics import Stopwatch
from stages.lib.core.progress import say
from stages.lib.curves.curve_picture import ScorePanel, publish_curve
from stages.lib.curves.curves import Curve
from stages.lib.curves.score_curve import ScoreCurve, Scoring
from stages.lib.launching.launch import launch, start_processes
from stages.lib.launching.world import World, open_world
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
    """Runs a stage's body in so many processes (0: one a GPU), or in those that LLMILL_LAUNCH starts.

    The main one writes its timings, with the figures.

    Raises:
        ValueError: as the body does.
    """
    launch(f"stages.{name}")
    start_processes(processes or torch.cuda.device_count(), f"stages.{name}")
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
    scoring: Scoring | None = None,
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
        scoring: what else is measured in training.
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

    def columns(scores: Mapping[str, float]) -> dict[str, float]:
        return {f"{scoring.name}_{column}": value for column, value in scores.items()} if scoring else {}

    scores = None
    if scoring and world.main:
        file = directory / f"{scoring.name}_{scoring.identity[:16]}.csv"
        scores = ScoreCurve(file, scoring.columns, resumed)
    # What trackers are told, the main process tells.
    told = asdict(params) | dict(training.decisive) | {"precision": training.precision}  # `auto` has been decided
    scored = {step: columns(row) for step, row in scores.rows.items()} if scores else {}
    logged = [
        point
        for point in (curve.points if curve else [])
        if point.step % params.log_every == 0 or point.val_loss is not None or point.step in scored
    ]
    trackers = open_trackers(params.trackers if curve else [], directory, told, logged, scored)

    def measure(step: int) -> dict[str, float]:
        if scoring is None or not scoring.due(step):
            return {}
        found = scoring.score()
        if scores is not None:
            scores.append(step, found)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
            say(f"{name}: step {step}: {scoring.name}: {shown}")
        return columns(found)

    def validate() -> float:
        return training.mean_loss(held_out, training.val_sequences)

    failed = True
    try:
        with advised(name, training):
            speed = training.run(train, validate, curve, trackers.log, name=name, measure=measure)
        failed = False
    finally:
        trackers.close(failed)
    watch.lap("train")
    if curve is None:
        return None
    panel = ScorePanel(scoring, scores.rows) if scoring and scores else None
    publish_curve(curve.points, params.log_every, published.curve, published.picture, panel)
    if scoring and scores:
        scores.publish(scoring.csv)
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
