"""What this machine's matrix products reach, and which precision is the faster one; both found within seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal, assert_never

import torch
from torch import Tensor, nn

from stages.lib.gpt.model import GPT
from stages.lib.training.matmul import matmul_rate

Precision = Literal["float32", "bf32", "bfloat16"]  # bf32: float32, products of operands rounded to bfloat16
SECONDS = 4.0  # that finding the faster precision may take, the matrix products of `rate` not counted
REPEATS = 3  # passes a precision and size, the first one not counted; more where all take less than `CHEAP` seconds
CHEAP = 0.1
SHORT = 64  # tokens of the shortest row
WORTH = 0.9  # bfloat16 has to take less than this of float32's time


def in_bfloat16(precision: Precision) -> bool:
    """Whether matrix products are computed in bfloat16 (under autocast, or by FSDP's policy)."""
    match precision:
        case "float32" | "bf32":
            return False
        case "bfloat16":
            return True
        case _:
            assert_never(precision)


def has_bf32() -> bool:
    """Whether this CPU has units (AMX or AVX512-BF16) for products of float32 matrices in bfloat16."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raises `ValueError` where the precision would silently be another one."""
    if precision == "bf32" and not (device.type == "cpu" and has_bf32()):
        place = "this CPU has neither AMX nor AVX512-BF16" if device.type == "cpu" else "it is a CPU's"
        raise ValueError(f"precision: bf32: {place}; take float32, or bfloat16 or auto")


@contextmanager
def products(precision: Precision) -> Iterator[None]:
    """Within, forward and backward, float32 matrices are multiplied as the precision says; for the whole process.

    Under bf32 oneDNN rounds the operands of a float32 product to bfloat16 and sums in float32. States, weights and all
    that is no product keep 24 bits, and there is no cast between two operations, which autocast has.
    """
    before = torch.get_float32_matmul_precision()
    if precision == "bf32":
        torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def rate(precision: Precision, device: torch.device) -> float:
    """Floating-point operations a second of matrix products in this precision; measured once a process, 0.5 s."""
    with products(precision):
        return matmul_rate(torch.bfloat16 if in_bfloat16(precision) else torch.float32, device)


def matmul_peak(precision: Precision, device: torch.device) -> float:
    """The most that a training step's matrix products could reach, in floating-point operations a second.

    Of a step in bfloat16 the better rate of both: without units for bfloat16 a library converts, and multiplies in
    float32.
    """
    return max(rate("float32", device), rate("bfloat16", device)) if in_bfloat16(precision) else rate(precision, device)


@dataclass(frozen=True)
class Found:
    """Which precision is faster, and what that was seen on."""

    precision: Precision
    why: str  # in a few words


@dataclass(frozen=True)
class _Pass:
    """One way to try a model: forward and backward."""

    name: str
    flops: float
    run: Callable[[], Tensor]  # the forward pass; gives a loss


def faster_precision(model: GPT, micro_batch: int, device: torch.device) -> Found:
    """bfloat16 where this very model's forward and backward pass under autocast takes under 0.9 of float32's time.

    Where matrix products in bfloat16 are no faster than in float32, as on CPUs without units for them, that decides.
    Elsewhere they alone would mislead: with AMX a narrow model is slower in bfloat16, by its casts and its attention.

    Passes are tried from one block on a short row up to `micro_batch` rows of the whole model, each in float32, then
    in bfloat16, as long as the next one fits into what is left of `SECONDS`, by its operations; the last one decides.
    Gradients are left empty.
    """
    products = {half: rate("bfloat16" if half else "float32", device) for half in (False, True)}
    if products[True] <= products[False]:
        told = f"{products[True] / 1e9:,.0f} GFLOP/s, in float32 {products[False] / 1e9:,.0f}"
        return Found("float32", f"matrix products in bfloat16 reach {told}")
    begun, found, expected = time.perf_counter(), Found("bfloat16", "by its matrix products alone"), 0.0
    for tried in _passes(model, micro_batch, device):
        left = SECONDS - (time.perf_counter() - begun)
        if expected * tried.flops > left:
            break
        try:
            full, half = (_least_seconds(tried, in_half, model, device, left / 2) for in_half in (False, True))
        except torch.OutOfMemoryError:
            break
        finally:
            model.zero_grad(set_to_none=True)
        expected = REPEATS * (full + half) / tried.flops
        why = f"{tried.name} takes {1e3 * half:,.1f} ms in bfloat16, {1e3 * full:,.1f} in float32"
        found = Found("bfloat16" if half < WORTH * full else "float32", why)
    return found


def _passes(model: GPT, micro_batch: int, device: torch.device) -> Iterator[_Pass]:
    """The cheapest first."""
    config, block = model.config, model.blocks[0]
    numbers = torch.Generator(device).manual_seed(0)
    widths = [SHORT * 4**i for i in range(16) if SHORT * 4**i < config.context]
    for width in [*widths, config.context]:
        x = torch.randn(1, width, config.d_model, generator=numbers, device=device)
        matrices = sum(parameter.numel() for parameter in block.parameters() if parameter.dim() == 2)
        flops = (6.0 * matrices + 12.0 * config.d_model * width) * width
        yield _Pass(f"one block on {width} tokens", flops, partial(_block_loss, block, x))
    for rows in sorted({1, micro_batch}):
        ids = torch.randint(config.vocab_size, (rows, config.context), generator=numbers, device=device)
        flops = model.matmul_flops(ids.numel())
        yield _Pass(f"the model on {rows} x {config.context} tokens", flops, partial(model, ids, targets=ids))


def _block_loss(block: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = block(x, None, None, None)
    return out.float().mean()


def _least_seconds(tried: _Pass, half: bool, model: GPT, device: torch.device, seconds: float) -> float:
    """Of the passes that fit into the seconds, the first one left out; of that one if it alone takes them all."""
    begun, least = time.perf_counter(), float("inf")
    for repeat in range(10 * REPEATS):
        start = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            loss = tried.run()
        loss.backward()  # type: ignore[no-untyped-call]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        end = time.perf_counter()
        model.zero_grad(set_to_none=True)
        if repeat or end - begun > seconds:
            least = min(least, end - start)
        if end - begun > (CHEAP if repeat + 1 >= REPEATS else seconds):
            break
    return least
