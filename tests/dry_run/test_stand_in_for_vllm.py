"""The stand-in answers as a real engine does: the tests of the real engine, run against it in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from profiles.dry_run.running import STAND_INS
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import load_model_entry

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_it_passes_the_tests_of_the_real_engine() -> None:
    directory = huggingface_directory(load_model_entry("smollm2-135m", ROOT / "params.yaml"))
    environment = os.environ | {"PYTHONPATH": str(ROOT / STAND_INS), "LLMILL_TEST_MODEL_DIR": str(directory)}
    command = [sys.executable, "-m", "pytest", "-m", "vllm", "tests/lib/llm/test_vllm_backend.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert "3 passed" in done.stdout, done.stdout[-3000:]
