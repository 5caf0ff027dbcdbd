"""One process or several (torchrun): who this process is, how a model is spread, and sums over all."""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, assert_never

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from stages.lib.gpt.model import GPT
from stages.lib.training.precision import Precision, in_bfloat16
from stages.lib.training.training_params import TrainingParams


@dataclass(frozen=True)
class World:
    """This process among all of the training's."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def total(self, values: list[float]) -> list[float]:
        """Sums over all processes, in double precision."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor]

    def total_tensor(self, value: float | Tensor) -> Tensor:
        """The sum over all processes, () float64 on the device; nobody waits for the device."""
        if isinstance(value, Tensor):
            tensor = value.double()
        else:
            tensor = torch.full((), value, dtype=torch.float64, device=self.device)  # a kernel; `tensor` would wait
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def barrier(self) -> None:
        """Waits until all processes are here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def open_world() -> Iterator[World]:
    """Joins the processes that torchrun started (nccl on GPUs, gloo on CPUs); alone without torchrun."""
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if "WORLD_SIZE" not in os.environ:
        yield World(rank, size, device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    yield World(rank, size, device)
    # Not after an error: nccl would wait for processes that wait for this one. It ends, and torchrun ends the others.
    dist.destroy_process_group()


def start_processes(processes: int, module: str) -> None:
    """Replaces this process by torchrun with so many of them, unless it is one of these already.

    `processes`: 0 is one a GPU; 1 goes on alone.
    """
    if "WORLD_SIZE" in os.environ:
        return
    count = processes or max(1, torch.cuda.device_count())
    if count > 1:
        arguments = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m", module]
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *arguments])


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
