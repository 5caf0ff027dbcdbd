"""A program for torchrun: the stage qlora or grpo, all of whose processes can be told to die after a step.

Run: torchrun ... -m tests.lib.launching.dying_trainer STAGE, in a folder with params.yaml and data.
DIES_AT in the environment: the step.
"""

import importlib
import os
import signal
import sys
from typing import Any

import transformers.trainer
from transformers import TrainerCallback


class Dies(TrainerCallback):  # type: ignore[misc]
    """As kill -9 on each process, and on what started them."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step has been taken by all."""
        if os.environ.get("DIES_AT") == str(state.global_step):
            if "WORLD_SIZE" in os.environ and state.is_world_process_zero:
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    transformers.trainer.DEFAULT_CALLBACKS.append(Dies)
    stage = importlib.import_module(f"stages.{sys.argv[1]}")
    del sys.argv[1:]
    stage.main()
