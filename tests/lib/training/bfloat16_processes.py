"""A program for torchrun: some steps of a training in one precision and way of spreading; writes down what came out.

Run: torchrun --nproc-per-node 2 tests/lib/training/bfloat16_processes.py PLACE PRECISION PARALLEL COMPILE
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[3]))

from stages.lib.launching.world import open_world
from stages.lib.training.distributed import full
from tests.lib.training.training_setup import CONFIG, Counting, settings, training

STEPS = 4


def noting(original: Callable[..., Any], kinds: list[str]) -> Callable[..., Any]:
    """The same function, which writes down of which type its input is."""

    def call(*args: Any, **kwargs: Any) -> Any:
        kinds.append(str(kwargs["input"].dtype))
        return original(*args, **kwargs)

    return call


def main() -> None:
    """Writes losses, gradient norms, the first gradients, the types of what a block is given and of what is summed."""
    place, precision, parallel, compiled = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "compiled"
    with open_world() as world:
        params = settings(micro_batch=2, parallel=parallel, precision=precision, compile=compiled, clip=0.0)
        made = training(place, params, world, replace(CONFIG, dropout=0.0))
        seen: dict[str, Any] = {"reduced": [], "block": []}

        def note(_: Any, given: tuple[Any, ...]) -> None:
            seen["block"].append([str(given[0].dtype), *(str(table.dtype) for table in given[1] or ())])

        if not compiled:
            made.model.blocks[1].register_forward_pre_hook(note)
        # How FSDP sums gradients, by its name in this version of torch and in the one before.
        for name in ("reduce_scatter_single", "reduce_scatter_tensor"):
            if original := getattr(dist, name, None):
                setattr(dist, name, noting(original, seen["reduced"]))
        losses, norms = [], []
        gradients: dict[str, torch.Tensor] = {}
        zero = made.optimizers[0].zero_grad

        def keep(*args: Any, **kwargs: Any) -> None:
            if not gradients:
                gradients.update(
                    {n: full(p.grad).clone() for n, p in made.model.named_parameters() if p.grad is not None}
                )
            zero(*args, **kwargs)

        made.optimizers[0].zero_grad = keep  # type: ignore[method-assign]
        batches = Counting()
        for step in range(STEPS):
            loss, norm = made.train_step(made.parts(batches, step), 1e-3)
            made.step += 1
            losses.append(loss)
            norms.append(norm)
        if world.main:
            place.mkdir(parents=True, exist_ok=True)
            torch.save(gradients, place / "gradients.pt")
            (place / "seen.json").write_text(json.dumps(seen | {"losses": losses, "norms": norms}))


if __name__ == "__main__":
    main()
