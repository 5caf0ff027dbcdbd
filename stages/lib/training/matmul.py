"""How fast this machine multiplies matrices, found within a time that is set."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

Clock = Callable[[], float]  # seconds
WIDTHS = (256, 512, 1024, 2048, 4096, 8192)
REPEATS = 5


def draw(width: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two (width, width) matrices of normally distributed numbers, always the same; no global number is drawn."""
    numbers = torch.Generator(device).manual_seed(0)
    a, b = torch.randn(2, width, width, generator=numbers, device=device).to(dtype)
    return a, b


def matmul_rate(dtype: torch.dtype, device: torch.device, seconds: float = 0.5, clock: Clock | None = None) -> float:
    """Floating-point operations a second of square products: the best over the widths that the time allows.

    Numbers are random, since hardware computes constants with less power, so that its clock is not lowered: an H100
    multiplies zeros 12% faster. The narrowest product is taken whatever it costs: 0.03 GFLOP, twice.

    Args:
        dtype: of the matrices.
        device: where.
        seconds: no wider product is begun that, by what the last one took, would end after so many.
        clock: instead of `time.perf_counter`.
    """
    clock = clock or time.perf_counter
    at_once = 10 if device.type == "cuda" else 1  # products between two waits for a GPU, which take their time too

    def taken(a: Tensor, b: Tensor, times: int) -> float:
        start = clock()
        for _ in range(times):
            a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (clock() - start) / times

    taken(*draw(WIDTHS[0], dtype, device), 1)  # not counted: it loads the kernels
    begun, best = clock(), 0.0
    least = 0.0  # seconds of a product of the last width
    for width in WIDTHS:
        if clock() - begun + 8 * least * (1 + at_once) > seconds:  # twice as wide: eight times the operations
            break
        a, b = draw(width, dtype, device)
        least = taken(a, b, 1)
        for _ in range(REPEATS):
            if clock() - begun + at_once * least > seconds:
                break
            least = min(least, taken(a, b, at_once))
        best = max(best, 2 * width**3 / least)
    if device.type == "cuda":
        a = b = torch.empty(0)
        torch.cuda.empty_cache()  # a training that needs all of the memory comes next
    return best
