"""What a process computes in a step, made and pinned while the step before it runs."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.lib.launching.world import World
from stages.lib.tokens.targets import IGNORED
from stages.lib.training.validation_loss import Batches


@dataclass(frozen=True)
class MicroBatch:
    """What goes through the model at once; in page-locked memory where a GPU takes it, so that the copy waits for
    nothing.
    """

    inputs: Tensor  # int64 (B, T), on the CPU
    targets: Tensor  # int64 (B, T), on the CPU
    counted: int  # of the targets, those that are not IGNORED


def micro_batches(batches: Batches, step: int, sequences: int, micro_batch: int, world: World) -> list[MicroBatch]:
    """This process's part of a step of `sequences`.

    Micro-step j of rank r takes sequences (j size + r) micro ...: the same ones whatever the number of processes.
    """
    parts = []
    for start in range(0, sequences, micro_batch * world.size):
        arrays = batches.batch(step * sequences + start + world.rank * micro_batch, micro_batch)
        inputs, targets = (torch.from_numpy(array) for array in arrays)
        counted = int((arrays[1] != IGNORED).sum())
        if world.device.type == "cuda":
            inputs, targets = inputs.pin_memory(), targets.pin_memory()
        parts.append(MicroBatch(inputs, targets, counted))
    return parts


@contextmanager
def one_step_ahead(
    make: Callable[[int], Sequence[MicroBatch]], first: int, end: int
) -> Iterator[Callable[[int], Sequence[MicroBatch]]]:
    """A function of the step, which is asked for `first`, `first` + 1, ...; a thread makes the next one meanwhile.

    Nothing at or behind `end` is made. What `make` raises is raised where its step is asked for.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        coming = pool.submit(make, first) if first < end else None
        expected = first

        def take(step: int) -> Sequence[MicroBatch]:
            nonlocal coming, expected
            assert coming is not None and step == expected, (step, expected)
            parts = coming.result()
            expected += 1
            coming = pool.submit(make, expected) if expected < end else None
            return parts

        yield take
