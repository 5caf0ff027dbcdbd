"""A JSON schema as a restriction of the next token, by llguidance (Rust, no dependencies, no download).

The same library serves vllm and xllamacpp. `llguidance.torch` is not used: it compiles its
masking kernel with torch.compile, which wants a C++ compiler on the user's machine.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from stages.lib.replies.json_objects import on_one_line


@lru_cache(maxsize=1)
def _vocabulary(tokenizer: Any) -> Any:
    import llguidance.hf

    return llguidance.hf.from_tokenizer(tokenizer)


class JsonGrammar:
    """What one reply may continue with, for it to become JSON that satisfies a schema."""

    def __init__(self, tokenizer: Any, schema: dict[str, Any]) -> None:
        """Prepares the grammar.

        Raises:
            ValueError: llguidance is not installed, or cannot express the schema.
        """
        try:
            from llguidance import LLMatcher
        except ImportError as error:
            raise ValueError("a schema with the transformers backend needs `pip install llguidance`") from error
        self._matcher = LLMatcher(_vocabulary(tokenizer), LLMatcher.grammar_from_json_schema(on_one_line(schema)))
        self._check()

    def restrict(self, logits: torch.Tensor) -> None:
        """Sets the logits (V,) of tokens that may not come next to -inf, in place."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        allowed = np.unpackbits(bits, bitorder="little", count=min(8 * len(bits), len(logits))).astype(bool)
        logits[len(allowed) :] = -torch.inf  # rows of the output matrix beyond the vocabulary
        logits[: len(allowed)].masked_fill_(torch.from_numpy(~allowed).to(logits.device), -torch.inf)

    def consume(self, token: int) -> bool:
        """Takes the chosen token; True when the JSON value is complete."""
        self._matcher.consume_token(token)
        self._check()
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ValueError(f"llguidance: {self._matcher.get_error()}")
