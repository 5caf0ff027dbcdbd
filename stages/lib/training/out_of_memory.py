"""What to lower where memory does not suffice: found before a training starts, or when it runs out of it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from stages.lib.gpt.checkpoints import CheckpointStore, read_state
from stages.lib.gpt.model import GPTConfig
from stages.lib.training.memory import GB, TrainingLoad, check_memory, next_smaller, training_memory
from stages.lib.training.training import Training
from stages.lib.weights.free_memory import available_host_bytes, available_on_gpu

# What PyTorch's allocators, CUDA, cuBLAS, NCCL and Python say; only some have a class of their own.
SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed", "not enough memory")


def load_of(training: Training, width: int = 0) -> TrainingLoad:
    """What a training will hold in memory; `width`: tokens of its longest row (0: the model's context)."""
    params, size = training.params, training.world.size
    return TrainingLoad(
        config=training.model.config,
        micro_batch=params.micro_batch,
        width=width,
        sequences=training.sequences // size,
        precision=training.precision,
        optimizer=params.optimizer,
        processes=size,
        parallel=params.parallel,
        compiled=params.compile,
    )


def check_weights(config: GPTConfig) -> None:
    """Whether this machine has the memory to make a model at all, before it is made: Linux would end the process.

    Raises:
        ValueError: it has not.
    """
    load = TrainingLoad(config=config, micro_batch=1, precision="float32")
    needed, free = training_memory(load)["weights"], available_host_bytes() // _processes_here()
    if needed > free:
        raise ValueError(
            f"the model's weights alone take {needed / GB:.1f} GB, this machine has {free / GB:.1f} free for each "
            f"process: lower n_layer ({config.n_layer}) or d_model ({config.d_model})"
        )


def _processes_here() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def check_fits(training: Training, width: int = 0) -> None:
    """Whether a training that is about to take its first step here has enough memory for it.

    On a GPU that is what is free and what PyTorch holds already; on a CPU what this machine has available, divided
    by its processes. On a CPU the estimate is less than what is taken in the end (200 to 400 MB of the libraries' own
    come on top), so that nothing is refused that would have fitted.

    Raises:
        ValueError: it has not; says what to lower.
    """
    device, load = training.world.device, load_of(training, width)
    if device.type == "cuda":
        check_memory(load, *available_on_gpu(device), started=True)
        return
    # The weights (and a resumed training's moments) are in memory already, and counted in the estimate.
    tensors = [*training.model.parameters()]
    for optimizer in training.optimizers:
        tensors += [value for state in optimizer.state.values() for value in state.values()]
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors if isinstance(tensor, torch.Tensor))
    check_memory(load, available_host_bytes() // _processes_here() + held, "this machine", started=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory could not be had, a GPU's or this machine's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


@contextmanager
def advised(name: str, training: Training) -> Iterator[None]:
    """Turns a failed allocation into a line that says where the training is, and what to lower.

    Raises:
        ValueError: memory ran out.
    """

    def message(said: str) -> str:
        # Read anew: only the main process, which saves, knows its store's last checkpoint.
        last = CheckpointStore(training.store.directory).path("last")
        goes_on = (
            f"goes on from step {read_state(last)['step']}" if last else "begins at step 1, no checkpoint is there"
        )
        return (
            f"{name}: out of memory after {training.step} of {training.params.steps} steps ({said}): "
            f"{_advice(training)}; the next run {goes_on}"
        )

    with _told(message):
        yield


@contextmanager
def named(name: str) -> Iterator[None]:
    """As `advised`, for what comes before a training and after it.

    Raises:
        ValueError: memory ran out.
    """

    def message(said: str) -> str:
        return (
            f"{name}: out of memory ({said}) outside of the training's steps: lower micro_batch, end what else "
            "holds memory here, or take a smaller model; checkpoints are kept, the next run goes on from the last one"
        )

    with _told(message):
        yield


@contextmanager
def _told(message: Callable[[str], str]) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ValueError(message(_said(error))) from None


def _advice(training: Training) -> str:
    params, load = training.params, load_of(training)
    ways = []
    if smaller := next_smaller(load):
        ways.append(f"lower micro_batch from {params.micro_batch} to {smaller} (batch_tokens may stay)")
    if not params.compile:
        ways.append("set compile: true, which keeps less")
    if params.parallel == "ddp" and params.optimizer == "adamw" and training.world.size > 1:
        ways.append("set parallel: fsdp")
    if not smaller:
        ways.append("take a smaller model or context, which is another training")
    return ", or ".join(ways)


def _said(error: BaseException) -> str:
    """The allocator's own words, their first sentences: how much was asked for."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:160].rpartition(" ")[0] + " ..."
