"""The training loop: steps, validation, checkpoints; resumed from the last checkpoint as if it had never stopped.

Where a run is, is its step number alone: the batch, the dropout masks and the learning rate of step s are functions
of (seed, s). Pretraining and finetuning differ only in the `Batches` they bring.
"""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from stages.lib.gpt.checkpoints import (
    OPTIMIZER,
    WEIGHTS,
    CheckpointStore,
    TokenizerFacts,
    check_shapes,
    read_state,
    read_tensors,
)
from stages.lib.gpt.curves import Curve
from stages.lib.gpt.distributed import World, spread, whole_weights, without_sync
from stages.lib.gpt.model import GPT
from stages.lib.gpt.optimizer import (
    build_optimizers,
    clip_gradients,
    learning_rate,
    moments,
    restore_moments,
    set_learning_rate,
)
from stages.lib.gpt.precision import Precision, faster_precision, matmul_peak
from stages.lib.gpt.targets import IGNORED
from stages.lib.gpt.training_params import TrainingParams

Log = Callable[[int, Mapping[str, float]], None]  # told of every row of the curve: step and values


class Batches(Protocol):
    """An endless sequence of training sequences, each a function of its number."""

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of sequences first..first+count-1, int64 (count, T)."""


@dataclass(frozen=True)
class Speed:
    """What the clock said of the steps of this process's run."""

    tokens: int  # trained on
    seconds: float  # in training steps, validation and checkpoints not counted
    flops: float  # of matrix products, all processes
    peak: float  # floating-point operations a second of a large matrix product here, all processes

    @property
    def tokens_per_second(self) -> float:
        """Over the whole run."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def matmul_share(self) -> float:
        """Share of the measured peak rate, 0..1."""
        return self.flops / self.seconds / self.peak if self.seconds else 0.0


class Training:
    """One training: its model, optimizers and place."""

    def __init__(
        self, model: GPT, params: TrainingParams, world: World, store: CheckpointStore, facts: TokenizerFacts
    ) -> None:
        """Takes up the store's last checkpoint if there is one.

        Raises:
            ValueError: batch sizes that do not divide, or a checkpoint of another model.
        """
        self.model, self.params, self.world, self.store, self.facts = model, params, world, store, facts
        self.context = model.config.context
        self.sequences = params.sequences(self.context, world.size)
        self.step = 0  # steps done
        self.best: tuple[float, int] = (math.inf, 0)  # validation loss, step
        last = store.path("last")
        state = read_state(last) if last else None
        if last:
            weights = read_tensors(last / WEIGHTS)
            check_shapes(weights, {name: tuple(t.shape) for name, t in model.state_dict().items()}, last / WEIGHTS)
            model.load_state_dict(weights)
        model.to(world.device)
        self.precision: Precision = state["precision"] if state else self._precision()
        self.runner: nn.Module = spread(model, params, self.precision, world)
        self.optimizers = build_optimizers(model, params)
        if last and state:
            restore_moments(model, self.optimizers, read_tensors(last / OPTIMIZER), last / OPTIMIZER)
            self.step = state["step"]
            self.best = (state["best"]["val_loss"] if state["best"]["step"] else math.inf, state["best"]["step"])

    def run(self, batches: Batches, validate: Callable[[], float], curve: Curve | None, log: Log, name: str) -> Speed:
        """Trains up to `steps`; `validate` gives the validation loss of the model as it stands.

        The main process has the curve; `log` is called on all.

        Raises:
            ValueError: loss or gradient is not finite, or a checkpoint cannot be saved.
        """
        params, seconds, tokens = self.params, 0.0, 0
        flops = self.model.matmul_flops(1)
        peak = matmul_peak(self.precision, self.world.device) * self.world.size
        first = self.step
        with tqdm(
            total=params.steps,
            initial=first,
            desc=name,
            unit="step",
            disable=not self.world.main,
            mininterval=1 if sys.stderr.isatty() else 20,  # a log file wants fewer lines than a terminal
        ) as bar:
            while self.step < params.steps:
                start = perf_counter()
                lr = learning_rate(self.step, params)
                loss, norm = self.train_step(batches, lr)
                seconds += perf_counter() - start
                tokens += params.batch_tokens
                self.step += 1
                last = self.step == params.steps
                val_loss = None
                if last or self.step % params.eval_every == 0:
                    val_loss = validate()
                    bar.set_postfix_str(f"val {val_loss:.3f}")
                best = val_loss is not None and val_loss < self.best[0]
                if val_loss is not None and best:
                    self.best = (val_loss, self.step)
                if last or val_loss is not None or self.step % params.log_every == 0:
                    row = {"train_loss": loss, "lr": lr, "grad_norm": norm}
                    row |= {} if val_loss is None else {"val_loss": val_loss}
                    if curve is not None:
                        curve.append(self.step, row)
                    log(self.step, row)
                if last or best or self.step % params.checkpoint_every == 0:
                    if curve is not None:
                        curve.sync()
                    self._save(best)
                speed = Speed(tokens, seconds, tokens * flops, peak)
                bar.set_description_str(
                    f"{name} loss {loss:.3f}, {speed.tokens_per_second:,.0f} tokens/s, "
                    f"{speed.matmul_share:.0%} of matmul peak",
                    refresh=False,
                )
                bar.update()
        return Speed(tokens, seconds, tokens * flops, peak)

    def mean_loss(self, batches: Batches, count: int) -> float:
        """Mean loss in nats a target over sequences 0..count-1, computed by all processes together."""
        micro, size = self.params.micro_batch, self.world.size
        summed, targets_seen = 0.0, 0.0
        self.runner.eval()
        with torch.no_grad():
            for start in range(0, count, micro * size):
                # Every process calls the model as often (FSDP needs that); what is past the end counts for nothing.
                first = start + self.world.rank * micro
                inputs, targets = batches.batch(min(first, count - 1), micro)
                beyond = np.arange(micro)[:, None] >= count - first
                targets = np.where(beyond, IGNORED, targets)
                known = int((targets != IGNORED).sum())
                loss = float(self._loss(inputs, targets))
                summed, targets_seen = summed + (loss * known if known else 0.0), targets_seen + known
        self.runner.train()
        total, seen = self.world.total([summed, targets_seen])
        return total / seen

    def train_step(self, batches: Batches, lr: float) -> tuple[float, float]:
        """One optimizer step over a global batch; returns its mean loss in nats a target, and the gradient norm."""
        params, world = self.params, self.world
        torch.manual_seed(_step_seed(params.seed, self.step, world.rank))
        self.runner.train()
        first, micro = self.step * self.sequences, params.micro_batch
        # Micro-step j of rank r takes sequences (j size + r) micro ...: the same ones whatever the number of processes.
        parts = [
            batches.batch(first + start + world.rank * micro, micro)
            for start in range(0, self.sequences, micro * world.size)
        ]
        counts = [int((targets != IGNORED).sum()) for _, targets in parts]
        (known,) = world.total([float(sum(counts))])
        summed = 0.0
        for i, ((inputs, targets), count) in enumerate(zip(parts, counts, strict=True)):
            with without_sync(self.runner, self.model, last=i == len(parts) - 1):
                # The mean over the whole batch's targets; DDP and FSDP divide gradients by the number of processes.
                loss = self._loss(inputs, targets) * (count / known)
                (loss * world.size).backward()  # type: ignore[no-untyped-call]
            summed += float(loss.detach())
        (mean,) = world.total([summed])
        norm = clip_gradients(self.model, params.clip)
        if not (math.isfinite(mean) and math.isfinite(norm)):
            good = self.store.path("last") or "none"
            raise ValueError(
                f"step {self.step + 1}: the loss is {mean}, the gradient norm {norm}; the last good checkpoint is "
                f"{good}. Lower lr or clip, or take float32, and run again"
            )
        set_learning_rate(self.optimizers, lr)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return mean, norm

    def _loss(self, inputs: np.ndarray, targets: np.ndarray) -> Tensor:
        device = self.world.device
        ids, wanted = (torch.from_numpy(array).to(device, non_blocking=True) for array in (inputs, targets))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
            loss: Tensor = self.runner(ids, targets=wanted)
        return loss

    def _precision(self) -> Precision:
        if self.params.precision != "auto":
            return self.params.precision
        faster = faster_precision(self.model, min(4, self.params.micro_batch), self.world.device)
        # One slower process would wait for all others anyway, and they must agree.
        (slower,) = self.world.total([float(faster == "float32")])
        return "float32" if slower else "bfloat16"

    def _save(self, best: bool) -> None:
        weights, state = whole_weights(self.model), moments(self.model, self.optimizers)
        if self.world.main:
            content: dict[str, Any] = {
                "step": self.step,
                "sequences_seen": self.step * self.sequences,
                "random_numbers": {"seed": self.params.seed, "rule": "seeded anew by (seed, step, rank)"},
                "best": {"step": self.best[1], "val_loss": self.best[0] if self.best[1] else None},
                "precision": self.precision,
                "params": asdict(self.params),
            }
            model = (self.model.config, self.facts)
            self.store.save(self.step, weights=weights, optimizer=state, state=content, model=model, best=best)
        self.world.barrier()


def _step_seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0])
