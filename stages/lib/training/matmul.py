"""How fast this machine multiplies matrices."""

import time

import torch


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
