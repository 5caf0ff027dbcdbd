"""The model of the tests that need vllm."""

import os
from pathlib import Path

import pytest

from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import load_model_entry

PARAMS = Path(__file__).parents[3] / "params.yaml"


@pytest.fixture(scope="session")
def vllm_directory() -> Path:
    """Of LLMILL_TEST_MODEL_DIR, else the packaged SmolLM2, converted once."""
    named = os.environ.get("LLMILL_TEST_MODEL_DIR")
    return Path(named) if named else huggingface_directory(load_model_entry("smollm2-135m", PARAMS))
