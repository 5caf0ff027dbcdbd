"""Losses of windows equal those of the model itself; too little text is an error."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages.lib.evaluation.forgetting import forgetting, text_windows, window_losses
from stages.lib.reading.documents import Document, Drop

ITEMS: list[Document | Drop] = [
    Document("a", "the question about apples and oranges " * 5),
    Document("b", "too short"),
    Drop("c", "empty"),
    Document("d", "one two three four " * 20),
    Document("e", "assistant user system " * 20),
]


@pytest.fixture(scope="module")
def loaded(tiny_directory: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(tiny_directory), AutoTokenizer.from_pretrained(tiny_directory)


def test_windows_come_from_long_documents_alone(loaded: tuple[Any, Any]) -> None:
    windows = text_windows(loaded[1], ITEMS, length=16, count=3)
    assert [len(window) for window in windows] == [16, 16, 16]
    assert loaded[1].decode(windows[2]).startswith("assistant")
    assert len(text_windows(loaded[1], ITEMS, length=16, count=2)) == 2
    with pytest.raises(ValueError, match="1 documents of the source have 16 tokens"):
        text_windows(loaded[1], ITEMS[:3], length=16, count=3)


def test_losses_are_the_models_own(loaded: tuple[Any, Any]) -> None:
    windows = text_windows(loaded[1], ITEMS, length=16, count=3)
    ids = [torch.tensor([window]) for window in windows]
    with torch.no_grad():
        expected = [float(loaded[0](input_ids=one, labels=one).loss) for one in ids]
    assert window_losses(loaded[0], windows, batch_size=2) == pytest.approx(expected, abs=1e-5)


def test_ratio_with_interval() -> None:
    before = np.random.default_rng(0).random(30) + 2
    same = forgetting(before, before, 500, 0)
    assert (same["ratio"], same["ratio_low"], same["ratio_high"], same["p"]) == (1.0, 1.0, 1.0, 1.0)
    worse = forgetting(before, before + 0.1, 500, 0)
    assert worse["ratio"] == pytest.approx(math.exp(0.1))
    assert worse["p"] < 0.01
    assert worse["ratio_low"] == pytest.approx(worse["ratio"]) == worse["ratio_high"]  # paired: each lost as much
    assert worse["perplexity_before"] == pytest.approx(math.exp(before.mean()))
    assert worse["perplexity"] == pytest.approx(math.exp(before.mean() + 0.1))
