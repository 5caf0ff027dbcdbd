"""The training loop: steps, validation, checkpoints; resumed from the last checkpoint as if it had never stopped.

Where a run is, is its step number alone: the batch, the dropout masks and the learning rate of step s are functions
of (seed, s), whatever the number of processes. Pretraining and finetuning differ only in the `Batches` they bring.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch
from torch import nn

from stages.lib.core import progress
from stages.lib.curves.curves import Curve
from stages.lib.gpt.checkpoints import (
    OPTIMIZER,
    WEIGHTS,
    CheckpointStore,
    TokenizerFacts,
    check_shapes,
    load_model,
    read_state,
    read_tensors,
)
from stages.lib.gpt.model import GPT
from stages.lib.launching.world import World
from stages.lib.training.distributed import spread, whole_weights
from stages.lib.training.lanes import passes_of
from stages.lib.training.optimizer import learning_rate, moments, restore_moments, set_learning_rate
from stages.lib.training.precision import Precision, check_precision, faster_precision, products
from stages.lib.training.speed import Meter, Speed
from stages.lib.training.step_batches import MicroBatch, micro_batches, one_step_ahead
from stages.lib.training.training_params import TrainingParams
from stages.lib.training.validation_loss import Batches, mean_loss

Log = Callable[[int, Mapping[str, float]], None]  # told of every logged step: its number and values


class Training:
    """One training: its model, optimizers and place."""

    def __init__(
        self,
        model: GPT,
        params: TrainingParams,
        world: World,
        store: CheckpointStore,
        facts: TokenizerFacts,
        *,
        decisive: Mapping[str, Any] | None = None,
        val_sequences: int = 0,
        val_which: str = "the first",
    ) -> None:
        """Takes up the store's last checkpoint if there is one.

        Every checkpoint notes `decisive`, the params that decide the weights (None: all), `val_sequences`, on how many
        sequences the validation loss is measured, and `val_which` of all: a loss on others cannot be compared with.

        Raises:
            ValueError: batch sizes that do not divide, or a checkpoint of another model.
        """
        self.model, self.params, self.world, self.store, self.facts = model, params, world, store, facts
        self.decisive = asdict(params) if decisive is None else decisive
        self.val_sequences, self.val_which = val_sequences, val_which
        self.context = model.config.context
        self.sequences = params.sequences(self.context, world.size)
        self.step = 0  # steps done
        self.best: tuple[float, int] = (math.inf, 0)  # validation loss, step
        self.best_is_of = (val_sequences, val_which)  # sequences that this loss was measured on
        last = store.path("last")
        state = read_state(last) if last else None
        if last:
            weights = read_tensors(last / WEIGHTS)
            check_shapes(weights, {name: tuple(t.shape) for name, t in model.state_dict().items()}, last / WEIGHTS)
            model.load_state_dict(weights)
        model.to(world.device)
        self.precision_why = ""  # what `auto` saw here
        self.precision: Precision = state["precision"] if state else self._precision()
        check_precision(self.precision, world.device)
        self.runner: nn.Module = spread(model, params, self.precision, world)
        self.passes = passes_of(model, self.runner, params, self.precision, world)
        self.optimizers = self.passes.optimizers
        self.meter = Meter(model, world)
        if last and state:
            restore_moments(model, self.optimizers, read_tensors(last / OPTIMIZER), last / OPTIMIZER)
            self.step = state["step"]
            self.best = (state["best"]["val_loss"] if state["best"]["step"] else math.inf, state["best"]["step"])
            # Checkpoints before `val_which` was noted took the first ones.
            self.best_is_of = (state["best"]["val_sequences"], state["best"].get("val_which", "the first"))

    def run(
        self,
        batches: Batches,
        validate: Callable[[], float],
        curve: Curve | None,
        log: Log,
        name: str,
        *,
        measure: Callable[[int], Mapping[str, float]] = lambda step: {},
    ) -> Speed:
        """Trains up to `steps`; `validate` gives the validation loss of the model as it stands.

        The main process has the curve; `log` is called on all. So is `measure`, after each step and before its
        checkpoint; what it finds ({}: it is not its turn) is logged, whatever `log_every` is.

        Raises:
            ValueError: loss or gradient is not finite, or a checkpoint cannot be saved.
        """
        params, meter = self.params, self.meter
        first = self.step
        if first < params.steps:  # a finished training takes no step whose speed there would be to tell
            meter.measure_peak(self.precision)
        with (
            one_step_ahead(partial(self.parts, batches), first, params.steps) as parts_of,
            progress.bar(name if self.world.main else None, params.steps, "step", initial=first) as bar,
        ):
            while self.step < params.steps:
                lr = learning_rate(self.step, params)
                with meter.step():
                    loss, norm = self.train_step(parts_of(self.step), lr)
                self.step += 1
                last = self.step == params.steps
                val_loss = None
                if last or self.step % params.eval_every == 0:
                    val_loss = validate()
                    bar.set_postfix_str(f"val {val_loss:.3f}")
                best = val_loss is not None and val_loss < self.best[0]
                if val_loss is not None and best:
                    self.best = (val_loss, self.step)
                row = {"train_loss": loss, "lr": lr, "grad_norm": norm}
                row |= {} if val_loss is None else {"val_loss": val_loss}
                if curve is not None:
                    curve.append(self.step, row)
                found = measure(self.step)
                if last or val_loss is not None or found or self.step % params.log_every == 0:
                    log(self.step, {**row, **found})
                if last or best or self.step % params.checkpoint_every == 0:
                    if curve is not None:
                        curve.sync()
                    self._save(best)
                bar.set_description_str(f"{name} loss {loss:.3f}, {meter.so_far()}", refresh=False)
                bar.update()
        return meter.total()

    def measure_best_again(self, batches: Batches) -> None:
        """Measures the best checkpoint on today's validation sequences, where an earlier run took others."""
        place = self.store.path("best")
        if place is None or self.best_is_of == (self.val_sequences, self.val_which):
            return
        best, _ = load_model(place, self.world.device)
        self.best = (self._mean_loss(best, batches, self.val_sequences), self.best[1])
        self.best_is_of = (self.val_sequences, self.val_which)

    def mean_loss(self, batches: Batches, count: int) -> float:
        """Mean loss in nats per target over sequences 0..count-1, computed by all processes together."""
        self.runner.eval()
        loss = self._mean_loss(self.runner, batches, count)
        self.runner.train()
        return loss

    def _mean_loss(self, model: nn.Module, batches: Batches, count: int) -> float:
        micro_batch = self.params.micro_batch
        return mean_loss(model, batches, count, micro_batch=micro_batch, precision=self.precision, world=self.world)

    def parts(self, batches: Batches, step: int) -> list[MicroBatch]:
        """What this process computes in a step (0, 1, ...)."""
        return micro_batches(batches, step, self.sequences, self.params.micro_batch, self.world)

    def train_step(self, parts: Sequence[MicroBatch], lr: float) -> tuple[float, float]:
        """One optimizer step over a global batch; returns its mean loss in nats per target, and the gradient norm.

        The host waits for the device once, at the end, when all is on its way.

        Raises:
            ValueError: loss or gradient is not finite; the weights in memory are spoiled then.
        """
        params, world = self.params, self.world
        self.runner.train()
        known = world.total_tensor(float(sum(part.counted for part in parts)))
        summed = torch.zeros((), dtype=torch.float64, device=world.device)
        for i, part in enumerate(parts):
            torch.manual_seed(_seed(params.seed, self.step, i * world.size + world.rank))
            self.meter.count(part.targets.numpy())
            with products(self.precision):
                summed += self.passes.add(part, known, last=i == len(parts) - 1)
        mean = world.total_tensor(summed)
        set_learning_rate(self.optimizers, lr)
        norm = self.passes.update(params.clip)
        found: list[float] = torch.stack([mean, norm.double()]).tolist()
        if not all(map(math.isfinite, found)):
            self._not_finite(*found)
        return found[0], found[1]

    def _not_finite(self, loss: float, norm: float) -> NoReturn:
        good = CheckpointStore(self.store.directory).path("last")  # also of a process that saves nothing itself
        go_on = f", unless init_from: {good} has it begin with these weights" if "init_from" in self.decisive else ""
        raise ValueError(
            f"step {self.step + 1}: the loss is {loss}, the gradient norm {norm}; the last good checkpoint is "
            f"{good or 'none'}. Lower lr or clip, or take float32: that is another training, which begins at "
            f"step 1{go_on if good else ''}"
        )

    def _precision(self) -> Precision:
        if self.params.precision != "auto":
            return self.params.precision
        found = faster_precision(self.model, min(4, self.params.micro_batch), self.world.device)
        # One slower process would wait for all others anyway, and they must agree.
        (slower,) = self.world.total([float(found.precision == "float32")])
        self.precision_why = f" (auto: {found.why})"
        return "float32" if slower else "bfloat16"

    def _save(self, best: bool) -> None:
        weights, state = whole_weights(self.model), moments(self.model, self.optimizers)
        if self.world.main:
            content: dict[str, Any] = {
                "step": self.step,
                "sequences_seen": self.step * self.sequences,
                "random_numbers": {"seed": self.params.seed, "rule": "seeded anew by (seed, step, micro-batch)"},
                "best": {
                    "step": self.best[1],
                    "val_loss": self.best[0] if self.best[1] else None,
                    "val_sequences": self.val_sequences,
                    "val_which": self.val_which,
                },
                "precision": self.precision,
                "params": dict(self.decisive),
            }
            model = (self.model.config, self.facts)
            self.store.save(self.step, weights=weights, optimizer=state, state=content, model=model, best=best)
        self.world.barrier()


def _seed(seed: int, step: int, number: int) -> int:
    """Of the step's micro-batch with this number: the same one whatever the number of processes."""
    return int(np.random.SeedSequence((seed, step, number)).generate_state(1, np.uint64)[0])
