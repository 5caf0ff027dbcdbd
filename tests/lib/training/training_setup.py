"""A training small enough for tests: its model, batches and parameters; also a program for torchrun.

Run: torchrun --nproc-per-node 2 tests/lib/training/training_setup.py STORE STEPS PARALLEL [full]

`full`: the last process finds no memory in its tenth step.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[3]))

from stages.lib.curves.curves import Curve
from stages.lib.gpt.checkpoints import CheckpointStore, TokenizerFacts
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.launching.world import World, open_world
from stages.lib.tokens.targets import IGNORED
from stages.lib.training.out_of_memory import advised
from stages.lib.training.training import Training
from stages.lib.training.training_params import TrainingParams
from tests.params_of import params_of

FACTS = TokenizerFacts(name="byte", identity="x", vocab_size=50, eot=1)
CONFIG = GPTConfig(vocab_size=64, context=16, n_layer=2, n_head=2, d_model=16, dropout=0.1)
ALONE = World(0, 1, torch.device("cpu"))


class Counting:
    """Sequences that count upwards from a drawn number, some targets ignored; remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []  # first, count

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Batches`."""
        self.asked.append((first, count))
        rows = []
        for number in range(first, first + count):
            start = np.random.Generator(np.random.Philox(key=number)).integers(50)
            rows.append((start + np.arange(CONFIG.context + 1)) % 50)
        ids = np.stack(rows).astype(np.int64)
        targets = ids[:, 1:].copy()
        targets[:, 0] = np.where(np.arange(first, first + count) % 3 == 0, IGNORED, targets[:, 0])
        return ids[:, :-1], targets


def settings(**changes: Any) -> TrainingParams:
    """30 steps of 8 sequences."""
    values: dict[str, Any] = {
        "steps": 30,
        "batch_tokens": 8 * CONFIG.context,
        "micro_batch": 4,
        "lr": 1e-2,
        "optimizer": "adamw",
        "precision": "float32",
        "compile": False,
        "processes": 1,
        "warmup_fraction": 0.1,
        "log_every": 1,
        "eval_every": 10,
        "checkpoint_every": 7,
    }
    return params_of(TrainingParams, "pretrain", **(values | changes))


def training(place: Path, params: TrainingParams, world: World = ALONE, config: GPTConfig = CONFIG) -> Training:
    """A training whose first weights are always the same."""
    torch.manual_seed(0)
    return Training(GPT(config), params, world, CheckpointStore(place), FACTS)


def fail_at(made: Training, step: int, error: BaseException) -> None:
    """A stand-in for a memory that is full in the training pass of that step (0, 1, ...)."""
    plain = made.model.forward

    def forward(*inputs: Any, **named: Any) -> torch.Tensor:
        if made.model.training and made.step == step:
            raise error
        return plain(*inputs, **named)

    made.model.forward = forward  # type: ignore[method-assign]


class StopRequestedError(Exception):
    """Ends a training from inside, as a kill would."""


def run(made: Training, place: Path, stop_at: int | None = None) -> tuple[Curve, Counting]:
    """Trains to the end, or until a step."""
    batches = Counting()
    curve = Curve(place / "curve.csv", made.step) if made.world.main else None

    def log(step: int, _: Any) -> None:
        if step == stop_at:
            raise StopRequestedError

    try:
        made.run(batches, lambda: made.mean_loss(Counting(), 12), curve, log, "test")
    except StopRequestedError:
        pass
    finally:
        if curve is not None:
            curve.close()
    return curve or Curve(place / f"curve_{made.world.rank}.csv"), batches


def main() -> None:
    """Trains under torchrun up to a step, and writes down what was asked for."""
    place, stop_at, parallel = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with open_world() as world:
        made = training(place, settings(micro_batch=2, parallel=parallel), world)
        if sys.argv[4:] == ["full"] and world.rank == world.size - 1:
            fail_at(made, 9, RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
        with advised("test", made):
            _, batches = run(made, place, stop_at)
        (place / f"asked_{world.rank}.json").write_text(json.dumps(batches.asked))


if __name__ == "__main__":
    main()
