"""Each family's conversations have the same token ids in a GGUF file as in transformers, forged markup and all."""

import importlib.util

import pytest

from tests import families
from tests.chat_family_check import chat


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="xllamacpp is not installed")
@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_gguf_is_asked_as_the_directory_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    chat(name)
