"""What a process computes in a step, and what is done to its gradients: by one model, or in lanes (lanes.py)."""

from typing import Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from stages.lib.gpt.model import GPT
from stages.lib.launching.world import World
from stages.lib.training.distributed import without_sync
from stages.lib.training.optimizer import build_optimizers, clip_gradients
from stages.lib.training.precision import Precision
from stages.lib.training.step_batches import MicroBatch
from stages.lib.training.training_params import TrainingParams
from stages.lib.training.validation_loss import batch_loss


class Passes(Protocol):
    """The forward and backward passes of a step, and its update."""

    optimizers: list[Optimizer]

    def add(self, part: MicroBatch, known: Tensor, *, last: bool) -> Tensor:
        """Adds a micro-batch's gradients to those of the step.

        Args:
            part: what is computed.
            known: targets of the whole step that count, over all processes, () float64.
            last: of the step's micro-batches.

        Returns:
            Its share of the step's mean loss, ().
        """

    def update(self, clip: float) -> Tensor:
        """Clips, steps, forgets the gradients; returns their global norm before, ()."""


class OneModel:
    """`Passes` through what `spread` returned: each kernel over all of the process's threads, or on its GPU."""

    def __init__(self, model: GPT, runner: nn.Module, params: TrainingParams, precision: Precision, world: World):
        self.model, self.runner, self.precision, self.world = model, runner, precision, world
        self.optimizers = build_optimizers(model, params)

    def add(self, part: MicroBatch, known: Tensor, *, last: bool) -> Tensor:
        """As `Passes`."""
        with without_sync(self.runner, self.model, last):
            # The mean over the whole step's targets; DDP and FSDP divide gradients by the number of processes.
            loss = batch_loss(self.runner, part.inputs, part.targets, self.precision, self.world.device)
            loss = loss * (part.counted / known)
            (loss * self.world.size).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def update(self, clip: float) -> Tensor:
        """As `Passes`."""
        norm = clip_gradients(self.model, clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return norm
