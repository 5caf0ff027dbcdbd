"""A JSON schema as a restriction of the next token, by llguidance (Rust, no dependencies, no download).

The same library serves vllm and xllamacpp, so that a schema means the same in each.
"""

from functools import lru_cache
from typing import Any

import torch


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
            import llguidance.torch
        except ImportError as error:
            raise ValueError("a schema with the transformers backend needs `pip install llguidance`") from error
        self._matcher = llguidance.LLMatcher(
            _vocabulary(tokenizer), llguidance.LLMatcher.grammar_from_json_schema(schema)
        )
        self._check()
        self._mask = llguidance.torch.allocate_token_bitmask(1, _vocabulary(tokenizer).vocab_size)

    def restrict(self, logits: torch.Tensor) -> None:
        """Sets the logits (V,) of tokens that may not come next to -inf, in place."""
        import llguidance.torch

        llguidance.torch.fill_next_token_bitmask(self._matcher, self._mask)
        llguidance.torch.apply_token_bitmask_inplace(logits[None], self._mask.to(logits.device))
        self._check()

    def consume(self, token: int) -> bool:
        """Takes the chosen token; True when the JSON value is complete."""
        self._matcher.consume_token(token)
        self._check()
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ValueError(f"llguidance: {self._matcher.get_error()}")
