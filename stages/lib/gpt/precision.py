"""What this machine's matrix products reach, and which precision is the faster one."""

import time
from functools import cache
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def seconds_of_matmul(rows: int, inner: int, columns: int, dtype: torch.dtype, device: torch.device) -> float:
    """Seconds of one product (rows x inner) by (inner x columns): the least of five, the first one not counted."""
    a = torch.ones(rows, inner, dtype=dtype, device=device)
    b = torch.ones(inner, columns, dtype=dtype, device=device)
    least = float("inf")
    for repeat in range(6):
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if repeat:
            least = min(least, time.perf_counter() - start)
    return least


@cache
def matmul_peak(precision: Precision, device: torch.device) -> float:
    """Floating-point operations a second of a square product, 2,048 (GPU: 8,192) wide; measured once a process."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    width = 8192 if device.type == "cuda" else 2048
    return 2 * width**3 / seconds_of_matmul(width, width, width, dtype, device)


def faster_precision(tokens: int, d_model: int, device: torch.device) -> Precision:
    """bfloat16 where it computes this model's widest product in under 0.8 of float32's time.

    CPUs without AMX convert each operand and are slower in bfloat16; a GPU's tensor cores are many times faster.
    """
    shape = (tokens, d_model, 4 * d_model)
    half = seconds_of_matmul(*shape, torch.bfloat16, device)
    return "bfloat16" if half < 0.8 * seconds_of_matmul(*shape, torch.float32, device) else "float32"
