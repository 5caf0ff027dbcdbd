"""What this machine's matrix products reach, and which precision is the faster one."""

import time
from functools import cache
from typing import Literal, assert_never

import torch

from stages.lib.gpt.model import GPT
from stages.lib.training.matmul import seconds_of_matmul

Precision = Literal["float32", "bfloat16"]


def in_bfloat16(precision: Precision) -> bool:
    """Whether matrix products are computed in bfloat16 (under autocast, or by FSDP's policy)."""
    match precision:
        case "float32":
            return False
        case "bfloat16":
            return True
        case _:
            assert_never(precision)


@cache
def matmul_peak(precision: Precision, device: torch.device) -> float:
    """Floating-point operations a second of a square product, 2,048 (GPU: 8,192) wide; measured once a process."""
    dtype = torch.bfloat16 if in_bfloat16(precision) else torch.float32
    width = 8192 if device.type == "cuda" else 2048
    return 2 * width**3 / seconds_of_matmul(width, width, width, dtype, device)


def faster_precision(model: GPT, micro_batch: int, device: torch.device) -> Precision:
    """bfloat16 where this very model's forward and backward pass under autocast takes under 0.9 of float32's time.

    A matrix product alone would mislead: CPUs without AMX convert each operand and are slower in bfloat16, and with
    AMX a narrow model is slower too, by its casts and its attention. A GPU's tensor cores are many times faster.
    Gradients are left empty.
    """
    ids = torch.zeros(micro_batch, model.config.context, dtype=torch.long, device=device)
    seconds = {}
    for half in (False, True):
        seconds[half] = float("inf")
        for repeat in range(4):
            start = time.perf_counter()
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
                loss = model(ids, targets=ids)
            loss.backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if repeat:
                seconds[half] = min(seconds[half], time.perf_counter() - start)
            model.zero_grad(set_to_none=True)
    return "bfloat16" if seconds[True] < 0.9 * seconds[False] else "float32"
