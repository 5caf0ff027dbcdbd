"""How a stage's process shares its machine: set where a stage begins, before torch is there to read it."""

import os
import subprocess
import sys

CODE = """
import gc, os, sys
from stages.lib.core import progress
assert "torch" not in sys.modules
progress.begin("qa", ["ask"])
print(os.environ["OMP_WAIT_POLICY"], gc.get_threshold()[2])
"""


def told(**variables: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_threads_that_wait_sleep_and_whole_collections_are_rare() -> None:
    assert told() == ["PASSIVE", "100"]


def test_what_the_user_says_of_waiting_holds() -> None:
    assert told(OMP_WAIT_POLICY="ACTIVE")[0] == "ACTIVE"
