"""The memory that stages/lib/training/memory.py expects of a training against what PyTorch allocates, and the probes.

Run: python -m bench.memory [--seconds 60] [--shapes wide long gpt2] [--no-compile]

Prints what the matmul peak and `precision: auto` found, and how long they took; then a markdown table. Each case takes
three steps of our own `Training` on random tokens, from random weights. On a GPU the measured figure is
`torch.cuda.max_memory_allocated`; on a CPU it is the growth of the process's resident memory, with 200 to 400 MB of
the libraries' own. Cases that would begin after `--seconds` are left out and named: compiled ones come last.
"""

import argparse
import gc
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.lib.gpt.checkpoints import CheckpointStore, TokenizerFacts
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.launching.world import World
from stages.lib.training.memory import MIB, TrainingLoad, training_memory
from stages.lib.training.precision import Precision, faster_precision, matmul_peak
from stages.lib.training.training import Training
from stages.lib.training.training_params import TrainingParams

FACTS = TokenizerFacts(name="byte", identity="", vocab_size=260, eot=258)
STEPS = 3
PRECISIONS: tuple[Precision, ...] = ("bfloat16", "float32")


@dataclass(frozen=True)
class Shape:
    """A model and its micro-batch; on a CPU a quarter of it."""

    vocab_size: int
    context: int
    layers: int
    heads: int
    width: int
    micro_batch: int
    more: dict[str, Any] = field(default_factory=dict)

    def config(self) -> GPTConfig:
        """The model's."""
        return GPTConfig(
            vocab_size=self.vocab_size,
            context=self.context,
            n_layer=self.layers,
            n_head=self.heads,
            d_model=self.width,
            **self.more,
        )


GPT2 = {"position": "learned", "norm": "layernorm", "activation": "gelu_tanh", "bias": True}
GPU_SHAPES = {
    "wide": Shape(50304, 1024, 6, 12, 768, 16),  # half of GPT-2 small, with rope and rmsnorm
    "long": Shape(320, 4096, 6, 8, 512, 8),  # bytes, long windows: no logits to speak of
    "gpt2": Shape(50304, 512, 4, 16, 1024, 8, {**GPT2, "dropout": 0.1}),
}
CPU_SHAPES = {
    "wide": Shape(8192, 256, 4, 8, 256, 8),
    "long": Shape(320, 1024, 4, 8, 256, 4),
    "gpt2": Shape(8192, 128, 4, 8, 512, 8, {**GPT2, "dropout": 0.1}),
}


class RandomTokens:
    """Batches of random ids; every place is a target."""

    def __init__(self, config: GPTConfig) -> None:
        self.config = config

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Batches`."""
        shape = (count, self.config.context + 1)
        ids = np.random.default_rng(first).integers(self.config.vocab_size, size=shape)
        return ids[:, :-1], ids[:, 1:]


def settings(shape: Shape, precision: Precision, compiled: bool) -> TrainingParams:
    """Two micro-batches a step, so that gradients are there in the second one's backward pass."""
    return TrainingParams(
        steps=STEPS,
        batch_tokens=2 * shape.micro_batch * shape.context,
        micro_batch=shape.micro_batch,
        lr=1e-3,
        warmup_fraction=0.0,
        min_lr_fraction=0.1,
        optimizer="adamw",
        beta1=0.9,
        beta2=0.95,
        eps=1e-8,
        weight_decay=0.1,
        clip=1.0,
        precision=precision,
        compile=compiled,
        processes=1,
        parallel="ddp",
        eval_every=STEPS,
        checkpoint_every=STEPS,
        log_every=STEPS,
        trackers=[],
        seed=1,
    )


class Resident:
    """Peak memory of this process on a device since it was asked to begin."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        else:
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        self.before = self._peak()

    def _peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        lines = Path("/proc/self/status").read_text().splitlines()
        (found,) = [line.split()[1] for line in lines if line.startswith("VmHWM")]
        return 1024 * int(found)

    def peak(self) -> int:
        """Bytes."""
        return self._peak() - self.before


def measured(shape: Shape, precision: Precision, compiled: bool, device: torch.device) -> tuple[int, float]:
    """Bytes at the peak of a few steps, and the tokens a second of the last one."""
    resident = Resident(device)
    with tempfile.TemporaryDirectory() as place:
        torch.manual_seed(0)
        params, world = settings(shape, precision, compiled), World(0, 1, device)
        training = Training(GPT(shape.config()), params, world, CheckpointStore(Path(place)), FACTS)
        batches = RandomTokens(shape.config())
        seconds = 0.0
        for _ in range(STEPS):
            start = time.perf_counter()
            training.train_step(training.parts(batches, training.step), 1e-3)
            training.step += 1
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = time.perf_counter() - start
        return resident.peak(), params.batch_tokens / seconds


def alone(shape: Shape, precision: Precision, compiled: bool, device: torch.device) -> tuple[int, float]:
    """As `measured`; on a CPU in a process of its own, since freed memory stays with the one that held it."""
    if device.type == "cuda":
        return measured(shape, precision, compiled, device)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, shape, precision, compiled, device).result()


def expected(shape: Shape, precision: Precision, compiled: bool) -> dict[str, int]:
    """The estimate's parts, without what no allocator of PyTorch's knows of."""
    config, micro_batch = shape.config(), shape.micro_batch
    load = TrainingLoad(config=config, micro_batch=micro_batch, precision=precision, compiled=compiled)
    parts = training_memory(load)
    return {name: size for name, size in parts.items() if name not in ("fragmentation", "CUDA context")}


def cases(names: list[str], compile_too: bool) -> Iterator[tuple[str, Precision, bool]]:
    """Eager ones first."""
    for compiled in (False, True) if compile_too else (False,):
        for precision in PRECISIONS:
            for name in names:
                yield name, precision, compiled


def probes(device: torch.device, shape: Shape) -> None:
    """Prints what the probes find, and in which time."""
    for precision in PRECISIONS:
        start = time.perf_counter()
        peak = matmul_peak(precision, device)
        print(f"matmul peak, {precision}: {peak / 1e12:,.2f} TFLOP/s, found in {time.perf_counter() - start:.2f} s")
    model = GPT(shape.config()).to(device)
    start = time.perf_counter()
    found = faster_precision(model, min(4, shape.micro_batch), device)
    print(f"precision auto: {found.precision}, {found.why}; found in {time.perf_counter() - start:.2f} s", flush=True)


def main() -> None:
    """Reads the command line, measures."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="no case begins later")
    parser.add_argument("--shapes", nargs="+", choices=GPU_SHAPES, default=list(GPU_SHAPES))
    parser.add_argument("--no-compile", action="store_true")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shapes = GPU_SHAPES if device.type == "cuda" else CPU_SHAPES
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads of a CPU"
    print(f"{where}, torch {torch.__version__}")
    probes(device, shapes["wide"])
    print("\n| shape | precision | | expected MB | measured MB | measured / expected | tokens/s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    left_out, worst = [], 0.0
    for name, precision, compiled in cases(arguments.shapes, not arguments.no_compile):
        how = "compiled" if compiled else "eager"
        if time.perf_counter() - begun > arguments.seconds:
            left_out.append(f"{name} {precision} {how}")
            continue
        estimate = sum(expected(shapes[name], precision, compiled).values())
        peak, rate = alone(shapes[name], precision, compiled, device)
        worst = max(worst, peak / estimate)
        sizes = f"{estimate / MIB:,.0f} | {peak / MIB:,.0f} | {peak / estimate:.3f}"
        print(f"| {name} | {precision} | {how} | {sizes} | {rate:,.0f} |", flush=True)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info(device)
        outside = (total - free - torch.cuda.memory_reserved(device)) / MIB
        print(f"\nheld outside PyTorch's allocator (context, kernels; of other programs too): {outside:,.0f} MB")
    print(f"left out for want of time: {', '.join(left_out) or 'nothing'}; {time.perf_counter() - begun:.0f} s in all")
    if device.type == "cuda" and worst > 1.05:
        sys.exit(f"a training took {worst:.3f} of what was expected of it: over the 5% that fragmentation may take")


if __name__ == "__main__":
    main()
