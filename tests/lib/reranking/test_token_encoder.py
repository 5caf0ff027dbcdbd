"""Token vectors by our own forward pass are those of sentence-transformers."""

import numpy as np
import pytest
import torch

from stages.lib.reranking.token_encoder import SPECIAL, TokenEncoder
from stages.lib.weights.models import load_model_entry, locate

TEXTS = [
    "Which tower stands in Paris?",
    "A gradient is the vector of partial derivatives of a function.",
    "",
    "  UPPER case é, 漢字 🙂 def f(x): return x**2 [MASK]\nand a line ",
    "word " * 254,
    "word " * 300,
    "Which tower stands in Paris?",
]


def encoders() -> tuple[TokenEncoder, TokenEncoder]:
    """Ours, and the same left to sentence-transformers."""
    entry = load_model_entry("minilm-l6")
    ours, theirs = (TokenEncoder(entry, locate(entry)) for _ in range(2))
    assert ours._states is not None
    theirs._states = None
    return ours, theirs


@pytest.mark.parametrize("task", ["query", "document"])
def test_equals_sentence_transformers(task: str) -> None:
    ours, theirs = (encoder.encode(TEXTS, task) for encoder in encoders())
    for own, other in zip(ours, theirs, strict=True):
        assert own.tokens == other.tokens
        assert own.truncated == other.truncated
        assert own.vectors.dtype == other.vectors.dtype == np.float32
        np.testing.assert_allclose(own.vectors, other.vectors, atol=2e-6)
    assert [one.truncated for one in ours] == [False] * 5 + [True, False]
    assert [ours[0].tokens[0], ours[0].tokens[-1]] == [SPECIAL, SPECIAL]
    assert len(ours[4].tokens) == len(ours[5].tokens) == 256


def test_a_texts_vectors_depend_neither_on_the_others_nor_on_the_number_of_cores() -> None:
    encoder, _ = encoders()
    together = encoder.encode(TEXTS, "document")
    cores = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for text, expected in zip(TEXTS, together, strict=True):
            assert encoder.encode([text], "document")[0].vectors.tobytes() == expected.vectors.tobytes()
    finally:
        torch.set_num_threads(cores)


def test_batches_of_sentence_transformers_hold_one_text_on_a_cpu() -> None:
    _, theirs = encoders()
    if not torch.cuda.is_available():
        assert theirs.plan(TEXTS[:3]) == [[1], [0], [2]]
    assert theirs.plan([]) == []
