"""Runs whose losses follow a known law, and the files that an experiment keeps of one."""

import json
from typing import Any

from stages.lib.curves.curves import HEADER
from stages.lib.scaling.runs import Budget, Run, Size, Validation

SMALL, LARGE = Size(1_000, 2, 1, 16), Size(8_000, 2, 2, 32)


def made(name: str = "a", size: Size = SMALL, loss: float = 2.0, steps: int = 10, **changes: Any) -> Run:
    """A run with two validations; it costs 6 FLOPs a weight and token."""
    budget = Budget(steps, 100)
    flops = 6.0 * size.weights * budget.tokens
    values: dict[str, Any] = {
        "optimizer": "adamw",
        "lr": 0.001,
        "seed": 1,
        "data": "0123456789ab",
        "val_windows": 7,
        "context": 64,
        "val_standard_error": 0.01,
        "curve": (
            Validation(step=steps // 2, matmul_flops=flops / 2, val_loss=loss + 1),
            Validation(step=steps, matmul_flops=flops, val_loss=loss),
        ),
    }
    return Run(name=name, size=size, budget=budget, matmul_flops=flops, val_loss=loss, **(values | changes))


def files(**changes: Any) -> dict[str, str]:
    """What a finished `dvc exp run pretrain` commits, some params changed; params.yaml may say something else."""
    params = {"n_layer": 2, "n_head": 1, "d_model": 16, "context": 64, "optimizer": "muon", "lr": 0.002}
    params |= {"steps": 4, "batch_tokens": 128, "seed": 3} | changes
    metrics = {"weights": 1_234, "steps": params["steps"], "matmul_flops": 8e6, "val_loss": 2.5}
    metrics |= {"data": "ab" * 32, "val": {"loss": 2.5, "standard_error": 0.02, "windows": 9}}
    return {
        "params.yaml": "pretrain: {n_layer: 99}\n",
        "dvc.lock": json.dumps({"stages": {"pretrain": {"params": {"params.yaml": {"pretrain": params}}}}}),
        "metrics/full/pretrain.json": json.dumps([metrics]),
        "metrics/pretrain_curve.csv": HEADER + "1,5,,1e-3,1\n2,4,3.5,1e-3,1\n4,3,2.5,0,1\n",
    }
