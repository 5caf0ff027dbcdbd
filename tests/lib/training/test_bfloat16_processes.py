"""Two processes in bfloat16, by DDP and by FSDP, beside one in float32: losses, gradients, and what is summed how."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

PROGRAM = Path(__file__).parent / "bfloat16_processes.py"
OF_LOSS = 4e-3  # relative: bfloat16 has 8 bits, a sum over 128 targets averages most of the rounding out
OF_GRADIENT = 2e-2  # relative, of all gradients as one vector


def spread_over_two(
    place: Path, precision: str, parallel: str, compiled: bool = False
) -> tuple[dict[str, Any], torch.Tensor]:
    """What the program wrote, and the first step's gradients as one vector, (weights,)."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(PROGRAM)]
    how = "compiled" if compiled else "eager"
    done = subprocess.run(
        [*command, str(place), precision, parallel, how], capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    gradients = torch.load(place / "gradients.pt", weights_only=True)
    vector = torch.cat([gradients[name].flatten() for name in sorted(gradients)])
    return json.loads((place / "seen.json").read_text()), vector


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.slow
def test_ddp_and_fsdp_in_bfloat16_are_near_float32_and_sum_gradients_in_float32(tmp_path: Path) -> None:
    exact, wanted = spread_over_two(tmp_path / "float32", "float32", "ddp")
    found = {way: spread_over_two(tmp_path / way, "bfloat16", way) for way in ("ddp", "fsdp")}
    for seen, gradients in found.values():
        assert seen["losses"] == pytest.approx(exact["losses"], rel=OF_LOSS)
        assert seen["losses"] != exact["losses"]  # it is another precision
        assert seen["norms"] == pytest.approx(exact["norms"], rel=OF_GRADIENT)
        assert 0 < relative(gradients, wanted) < OF_GRADIENT
        assert seen["block"][0] == [
            "torch.bfloat16",
            "torch.float32",
            "torch.float32",
        ]  # states, cos, sin
    fsdp, ddp = found["fsdp"], found["ddp"]
    assert relative(fsdp[1], ddp[1]) < OF_GRADIENT / 2
    assert set(fsdp[0]["reduced"]) == {"torch.float32"}


@pytest.mark.slow
def test_ddp_within_torch_compile_computes_what_it_does_without(tmp_path: Path) -> None:
    eager, wanted = spread_over_two(tmp_path / "eager", "float32", "ddp")
    compiled, gradients = spread_over_two(tmp_path / "compiled", "float32", "ddp", compiled=True)
    assert compiled["losses"] == pytest.approx(eager["losses"], rel=1e-5)
    assert relative(gradients, wanted) < 1e-5
