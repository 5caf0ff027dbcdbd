"""One process or several (torchrun): who this process is, sums over all, and what the main one tells the others."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

PATIENCE = timedelta(
    days=30
)  # of those that wait for work of the main process alone; torchrun ends them where it fails


@dataclass(frozen=True)
class World:
    """This process among all of the training's."""

    rank: int
    size: int
    device: torch.device
    store: Store | None = None  # torchrun's, over which they met; None: a process alone

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
        """Waits until all processes are here, for as long as torch lets a collective wait: minutes."""
        if self.size > 1:
            dist.barrier()

    def wait_for_main(self, what: str) -> None:
        """The others wait until the main process has called this, too, be it for hours.

        `what`: has been done then; each once in a training.
        """
        self.told(what, None)

    def told(self, what: str, value: Any) -> Any:
        """What the main process's `value` is, made of JSON's types; the others wait for it, be it for hours."""
        if self.store is None:
            return value
        key = f"llmill/{what}"
        if self.main:
            self.store.set(key, json.dumps(value))
        self.store.wait([key], PATIENCE)
        return json.loads(self.store.get(key))

    def agree(self, what: str, value: Any) -> None:
        """Checks that all processes see the same, `value` of JSON's types.

        Raises:
            ValueError: this process sees something else than the main one.
        """
        told, seen = self.told(what, value), json.loads(json.dumps(value))
        if told != seen:
            raise ValueError(
                f"{what}: process {self.rank} of {self.size} ({os.uname().nodename}) sees {seen}, the main one {told}: "
                "all nodes need the same code, params.yaml, data and .cache; put the folder, or LLMILL_CACHE, on "
                "storage that they share (docs/clusters.md)"
            )


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
    store, rank, size = next(iter(rendezvous("env://")))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=size)
    world = World(rank, size, device, store)
    yield world
    _end_together(world, store)
    # Not after an error: nccl would wait for processes that wait for this one. It ends, and torchrun ends the others.
    dist.destroy_process_group()


@contextmanager
def only_main_prints(world: World) -> Iterator[None]:
    """What other processes than the main one print goes nowhere; what they say on stderr does not."""
    if world.main:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123
        yield


def _end_together(world: World, store: Store) -> None:
    """Nobody leaves before the main process has written all results, and it leaves last.

    The store goes with the main process, and torchrun gives up a node that waits minutes for another one's end.
    """
    world.wait_for_main("all is done")
    store.set(f"llmill/left/{world.rank}", "")
    if world.main:
        store.wait([f"llmill/left/{rank}" for rank in range(world.size)], PATIENCE)
