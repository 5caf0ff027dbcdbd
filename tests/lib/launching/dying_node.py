"""A program for torchrun: a training that notes what it computes; a node can be told to die in a step.

Run: torchrun ... -m tests.lib.launching.dying_node, in a folder with params.yaml and shards: the stage pretrain; or
with the arguments of tests/lib/training/training_setup.py: a training without a stage.

Environment:
    SEEN: a folder for what each process computed, a file a process: step, place in the step, hash of the tokens, loss.
    DIES_AT: a step; in it this process kills its agent and itself.
"""

import hashlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.lib.training.step_batches import MicroBatch
from stages.lib.training.training import Training

plain = Training.train_step


def train_step(self: Training, parts: Sequence[MicroBatch], lr: float) -> tuple[float, float]:
    """As the loop's, noted."""
    if os.environ.get("DIES_AT") == str(self.step):
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    found = plain(self, parts, lr)
    with (Path(os.environ["SEEN"]) / f"{os.getpid()}.csv").open("a") as seen:
        for number, part in enumerate(parts):
            place = number * self.world.size + self.world.rank
            tokens = hashlib.sha256(part.inputs.numpy().tobytes()).hexdigest()[:16]
            print(self.step, place, tokens, found[0].hex(), sep=",", file=seen)
    return found


if __name__ == "__main__":
    Training.train_step = train_step  # type: ignore[method-assign]
    if sys.argv[1:]:
        from tests.lib.training import training_setup

        training_setup.main()
    else:
        from stages import pretrain

        pretrain.main()
