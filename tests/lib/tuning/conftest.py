"""The tiny random Llama with a chat template that the tests of lib/llm use."""

from tests.lib.llm.conftest import tiny_directory

__all__ = ["tiny_directory"]
