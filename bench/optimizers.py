"""Seconds of a training step with Muon and with AdamW, taken in turns: what Newton-Schulz costs.

Run: python -m bench.optimizers [--widths 64 128 256] [--steps 40]

Both engines train the default's shape (params.yaml) at a width, on random bytes, with the default's batch. Every turn
takes one step of each; which is first changes from turn to turn. A ratio is the median over the turns of Muon's
seconds by AdamW's of the same turn, with the quartiles. Prints a markdown table.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bench.pretrain_engines import FACTS
from stages.lib.gpt.checkpoints import CheckpointStore
from stages.lib.gpt.model import GPT
from stages.lib.launching.world import World
from stages.lib.training.training import Training
from stages.lib.training.training_params import OptimizerName
from stages.pretrain import Params
from tests.params_of import params_of

HEAD = 32  # channels a head, as in the default
WARM_UP = 3  # turns that are not counted


class RandomBytes:
    """Windows of random bytes; what they say costs no time."""

    def __init__(self, context: int) -> None:
        self.context = context

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Batches`."""
        rows = np.random.default_rng(first).integers(256, size=(count, self.context + 1))
        return rows[:, :-1], rows[:, 1:]


def training(optimizer: OptimizerName, width: int, place: Path) -> Training:
    """The default's training at a width."""
    params = params_of(Params, "pretrain", optimizer=optimizer, d_model=width, n_head=max(1, width // HEAD))
    torch.manual_seed(0)
    model = GPT(params.config(FACTS.vocab_size))
    return Training(model, params.training(), World(0, 1, torch.device("cpu")), CheckpointStore(place), FACTS)


def seconds(of: Training, batches: RandomBytes) -> float:
    """Of one step."""
    start = time.perf_counter()
    of.train_step(of.parts(batches, of.step), of.params.lr)
    of.step += 1
    return time.perf_counter() - start


def row(width: int, turns: int, place: Path) -> str:
    """A line of the table."""
    adamw, muon = training("adamw", width, place / "adamw"), training("muon", width, place / "muon")
    batches = RandomBytes(adamw.context)
    pairs = []
    for turn in range(turns + WARM_UP):
        if turn % 2:
            ours = seconds(muon, batches)
            theirs = seconds(adamw, batches)
        else:
            theirs = seconds(adamw, batches)
            ours = seconds(muon, batches)
        if turn >= WARM_UP:
            pairs.append((theirs, ours))
    low, middle, high = statistics.quantiles([ours / theirs for theirs, ours in pairs], n=4)
    times = [statistics.median(column) * 1000 for column in zip(*pairs, strict=True)]
    return (
        f"| {adamw.model.config.n_layer} x {width} | {adamw.model.n_params:,} | {times[0]:.0f} | {times[1]:.0f} | "
        f"{middle:.2f} [{low:.2f}, {high:.2f}] |"
    )


def main() -> None:
    """Reads the command line, measures."""
    parser = argparse.ArgumentParser(prog="python -m bench.optimizers", description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--steps", type=int, default=40, help="turns that are counted")
    arguments = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, {arguments.steps} turns\n")
    print("| layers x width | weights | AdamW, ms a step | Muon, ms a step | ratio, median [quartiles] |")
    print("|---|---|---|---|---|")
    for width in arguments.widths:
        with tempfile.TemporaryDirectory() as place:
            print(row(width, arguments.steps, Path(place)), flush=True)


if __name__ == "__main__":
    main()
