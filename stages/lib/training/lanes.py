"""A step on a CPU in lanes: one thread a core, each with some of the rows, which meet a few times a step.

Threads that share every kernel wait for each other some hundred times a step, and all wait where another program has
taken one's core. A lane computes its rows alone, by a copy of the model that shares the weights and has gradients of
its own, end to end in one tensor, so that adding up, clipping and forgetting them are single operations. The same
rows in as many lanes give the same bits: what lanes found is added in their order.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from stages.lib.gpt.model import GPT
from stages.lib.launching.world import World
from stages.lib.tokens.targets import IGNORED
from stages.lib.training.optimizer import build_optimizers
from stages.lib.training.passes import OneModel, Passes
from stages.lib.training.precision import Precision
from stages.lib.training.step_batches import MicroBatch
from stages.lib.training.training_params import TrainingParams
from stages.lib.training.validation_loss import batch_loss

R = TypeVar("R")


@dataclass(frozen=True)
class _Lane:
    run: nn.Module  # a model that shares the weights, compiled or not
    gradient: Tensor  # (weights,), of which its parameters' gradients are views
    share: slice  # of all gradients: those that this lane adds up, clips and updates with
    optimizers: list[Optimizer]  # of the parameters in its share


def passes_of(model: GPT, runner: nn.Module, params: TrainingParams, precision: Precision, world: World) -> Passes:
    """Lanes where a process trains alone on several threads of a CPU, and no dropout draws from their one generator."""
    lanes = min(torch.get_num_threads(), params.micro_batch)
    alone = world.device.type == "cpu" and not dist.is_initialized()
    if alone and lanes > 1 and not model.config.dropout:
        return Lanes(model, lanes, params, precision)
    return OneModel(model, runner, params, precision, world)


class Lanes:
    """`Passes` of one process on a CPU."""

    def __init__(self, model: GPT, count: int, params: TrainingParams, precision: Precision) -> None:
        """Gives the model's own parameters the first lane's gradients."""
        self.precision = precision
        named = dict(model.named_parameters())
        sizes = [parameter.numel() for parameter in named.values()]
        ends = list(accumulate(sizes))
        self.lanes = []
        for lane, (start, end) in enumerate(pairwise(_cuts(ends, count))):
            copy = model if lane == 0 else _sharing_weights(model)
            gradient = torch.zeros(ends[-1])
            for parameter, piece in zip(copy.parameters(), torch.split(gradient, sizes), strict=True):
                parameter.grad = piece.view_as(parameter)
            run: Any = torch.compile(copy, options={"cpp.threads": 1}) if params.compile else copy
            mine = {name for name, last in zip(named, ends, strict=True) if start < last <= end}
            optimizers = build_optimizers(model, params, mine)
            self.lanes.append(_Lane(run, gradient, slice(start, end), optimizers))
        self.optimizers = [optimizer for lane in self.lanes for optimizer in lane.optimizers]
        self._pool = ThreadPoolExecutor(count, "lane", torch.set_num_threads, (1,))
        self._begun = False  # the step has gradients
        self._one_by_one = params.compile  # the first passes, which compile

    def add(self, part: MicroBatch, known: Tensor, *, last: bool) -> Tensor:
        """As `Passes`; `last` is of no importance."""
        inputs, targets = (rows.tensor_split(len(self.lanes)) for rows in (part.inputs, part.targets))

        def rows_of(number: int, lane: _Lane) -> Tensor:
            if not self._begun:
                lane.gradient.zero_()
            counted = (targets[number] != IGNORED).sum()
            if not counted:
                return torch.zeros((), dtype=known.dtype)
            loss = batch_loss(lane.run, inputs[number], targets[number], self.precision, known.device)
            loss = loss * (counted / known)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()

        losses = self._in_lanes(rows_of)
        self._begun, self._one_by_one = True, False
        return torch.stack(losses).sum()

    def update(self, clip: float) -> Tensor:
        """As `Passes`."""
        whole = self.lanes[0].gradient

        def add_up(number: int, lane: _Lane) -> Any:
            mine = whole[lane.share]
            for other in self.lanes[1:]:
                mine += other.gradient[lane.share]
            return torch.linalg.vector_norm(mine)

        norm: Tensor = torch.linalg.vector_norm(torch.stack(self._in_lanes(add_up)))
        factor = (clip / (norm + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grads_with_norm_

        def step(number: int, lane: _Lane) -> None:
            if clip:
                whole[lane.share] *= factor
            for optimizer in lane.optimizers:
                optimizer.step()

        self._in_lanes(step)
        self._begun = False
        return norm

    def _in_lanes(self, function: Callable[[int, _Lane], R]) -> list[R]:
        """What it returns for each lane; all have ended, even where one fails."""
        futures = []
        for number, lane in enumerate(self.lanes):
            futures.append(self._pool.submit(function, number, lane))
            if self._one_by_one:
                futures[-1].exception()
        for future in futures:
            future.exception()  # waits
        return [future.result() for future in futures]


def _cuts(ends: list[int], count: int) -> list[int]:
    """Where the lanes' shares begin and end: after the parameters whose ends are nearest to equal shares."""
    within = [min(ends, key=lambda end: abs(end - ends[-1] * lane / count)) for lane in range(1, count)]
    return [0, *within, ends[-1]]


def _sharing_weights(model: GPT) -> GPT:
    copy = deepcopy(model)
    for own, shared in zip(copy.parameters(), model.parameters(), strict=True):
        own.data = shared.data
    return copy
