"""Lines that move tensors to a card, walked with the model on torch's `meta` device and all else on the CPU.

What is not moved fails there as on a card ("two devices"); what comes back to Python is zeros.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from stages.lib.decoding import grouped_attention
from stages.lib.embedding.text_encoder import TextEncoder
from stages.lib.llm import transformers_scoring
from stages.lib.training import matmul
from stages.lib.weights.models import ModelEntry, resolved_dtype


@pytest.fixture
def back_to_python(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Numbers that leave the card are zeros."""
    kept = torch.Tensor.cpu

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        return torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else kept(tensor)

    with monkeypatch.context() as patches:
        patches.setattr(torch.Tensor, "cpu", cpu)
        patches.setattr(torch.Tensor, "__float__", lambda tensor: 0.0 if tensor.is_meta else tensor.item())
        patches.setattr(torch.Tensor, "__bool__", lambda tensor: False if tensor.is_meta else bool(tensor.item()))
        yield


def elsewhere(directory: Path, kind: Any = AutoModelForCausalLM, **options: Any) -> Any:
    """A model of a directory's configuration on the other device."""
    config = AutoConfig.from_pretrained(directory)
    with torch.device("meta"):
        return kind.from_config(config, **options).eval()


def test_a_tensor_that_was_not_moved_is_found() -> None:
    with pytest.raises(RuntimeError, match="not on the expected device"):
        torch.ones(2, device="meta") + torch.ones(2)


def test_scores_of_choices(tiny_directory: Path, back_to_python: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(transformers_scoring.PACK_TOKENS, "meta", transformers_scoring.PACK_TOKENS["cuda"])
    model = elsewhere(tiny_directory, attn_implementation=grouped_attention.NAME)
    prompts, choices = [[1, 2, 3], [1, 2, 4, 5]], [[[1], [2, 3]], [[7], [8]]]
    packs = list(transformers_scoring.score_tokens(model, prompts, choices, [0, 1]))
    assert sorted(i for pack in packs for i, _ in pack) == [0, 1]


@pytest.mark.parametrize("pooling", ["lasttoken", "mean", "cls"])
def test_embeddings_of_a_batch(pooling: str, tiny_directory: Path, back_to_python: None) -> None:
    entry = ModelEntry(source="path:x", backend="sentence_transformers", batch_size=3)
    encoder = TextEncoder(entry, tiny_directory, pooling)
    encoder.device, encoder.batch_size = "meta", 3
    encoder._network = elsewhere(tiny_directory, AutoModel)
    assert encoder._forward([[1, 2, 3], [4, 5]]).shape == (2, 32)


def test_batches_on_a_card_are_as_large_as_told(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ModelEntry(source="path:x", backend="sentence_transformers", batch_size=3, dtype="auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    encoder = TextEncoder(entry, tiny_directory, "mean")
    assert (encoder.device, encoder.batch_size, encoder.dtype) == ("cuda", 3, "bfloat16")
    assert [len(batch) for batch in encoder.plan([[1]] * 7)] == [3, 3, 1]
    monkeypatch.setattr(encoder, "_load", object)
    monkeypatch.setattr(encoder, "_forward", lambda batch: np.zeros((len(batch), 32), dtype=np.float32))
    assert [len(found) for found in encoder.encode([[[1]] * 3, [[1]]])] == [3, 1]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert resolved_dtype("auto") == "float32"


def test_a_card_is_timed_when_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading of the clock after a product comes after a wait for the card."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    events: list[str] = []
    now = itertools.count()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append(f"wait {device}"))
    monkeypatch.setattr(matmul, "draw", lambda width, dtype, device: [torch.empty(width, width, device=device)] * 2)

    def clock() -> float:
        events.append("clock")
        return 1e-9 * next(now)

    card = torch.device("cuda")
    with FakeTensorMode():
        assert matmul.matmul_rate(torch.bfloat16, card, clock=clock) > 0
    waits = [i for i, event in enumerate(events) if event == f"wait {card}"]
    assert len(waits) >= 2 * len(matmul.WIDTHS)
    assert all(events[i + 1] == "clock" for i in waits)
