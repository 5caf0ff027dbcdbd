"""How a model is spread over several processes: DDP or FSDP2."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, assert_never

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from stages.lib.gpt.model import GPT
from stages.lib.launching.world import World
from stages.lib.training.precision import Precision, in_bfloat16
from stages.lib.training.training_params import TrainingParams


def spread(model: GPT, params: TrainingParams, precision: Precision, world: World) -> nn.Module:
    """The module to call in training and validation: compiled, DDP's or FSDP's as asked.

    The model itself stays what it was, so that generation never meets a compiled graph. DDP lies inside what is
    compiled: so torch cuts the graph where a bucket of gradients is full, and sums it while the rest is computed.
    """
    match params.parallel:
        case "fsdp":
            if dist.is_initialized():
                divide(model, precision)
            runner: nn.Module = model
        case "ddp":
            runner = DistributedDataParallel(model, gradient_as_bucket_view=True) if world.size > 1 else model
        case _:
            assert_never(params.parallel)
    compiled: Any = torch.compile(runner) if params.compile else runner
    assert isinstance(compiled, nn.Module)
    return compiled


def divide(model: GPT, precision: Precision) -> None:
    """Divides weights, gradients and moments over the processes (FSDP2).

    In bfloat16 a block computes with weights rounded as autocast rounds them under DDP, what goes from block to block
    is what DDP's blocks get (the table of positions stays float32), and gradients are summed in float32, over
    micro-steps and over processes.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if in_bfloat16(precision) else torch.float32,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    for block in model.blocks:
        fully_shard(block, mp_policy=policy)
    fully_shard(model, mp_policy=policy)


def without_sync(runner: nn.Module, model: GPT, last: bool) -> AbstractContextManager[Any]:
    """Gradients are exchanged only in the last micro-step of a batch."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
        return nullcontext()
    within = getattr(runner, "_orig_mod", runner)  # of what torch.compile returned
    if isinstance(within, DistributedDataParallel) and not last:
        return within.no_sync()
    return nullcontext()


def full(tensor: Tensor) -> Tensor:
    """The whole tensor, also where FSDP has divided it (then every process must call this)."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_weights(model: GPT) -> dict[str, Tensor]:
    """The state dict on the CPU, gathered where FSDP has divided it (every process must call this)."""
    return {name: full(tensor).detach().cpu() for name, tensor in model.state_dict().items()}
