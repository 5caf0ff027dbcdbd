"""The loss on the pretraining's text: windows of all of its validation split, or why there are none."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.lib.finetuning.losses import loss_and_perplexity, pretraining_text
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.shards.reading import open_shards
from stages.lib.tokens.tokenizers import load_tokenizer
from stages.lib.training.held_out import SpreadWindows
from tests.lib.finetuning.sharded_text import write_shards

BYTES = load_tokenizer("byte")
SHARDS = Path("data/shards")
CONTEXT = 16


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)


def text(windows: int, context: int = CONTEXT) -> SpreadWindows:
    found, why = pretraining_text(SHARDS, BYTES, context, windows)
    assert found is not None and why == ""
    return found


def test_windows_are_spread_evenly_over_all_of_the_split() -> None:
    write_shards()
    every = text(0).numbers
    assert every.tolist() == list(range(-(-(open_shards(SHARDS, "val").tokens - 1) // CONTEXT)))
    few = text(10).numbers
    gaps = np.diff([-few[0] - 1, *few, 2 * len(every) - few[-1]])
    assert len(few) == 10 and gaps.max() - gaps.min() <= 2  # the edges are half a gap away
    assert text(10**6).numbers.tolist() == every.tolist()


def test_the_loss_is_the_mean_over_targets_however_it_is_cut() -> None:
    write_shards()
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=260, context=CONTEXT, n_layer=1, n_head=1, d_model=16)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(10)
    few = text(7)
    inputs, targets = (torch.from_numpy(array) for array in few.batch(0, 7))
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).item()
    for micro_batch in (1, 3, 8):
        found = loss_and_perplexity(model, few, 7, micro_batch)
        assert found["loss"] == pytest.approx(expected, rel=1e-5)
        assert found["perplexity"] == pytest.approx(math.exp(expected), rel=1e-4)


def test_why_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = pretraining_text(SHARDS, BYTES, CONTEXT, 4)
    assert absent == (None, "data/shards/manifest.json is not there: the model was not pretrained here")
    write_shards("gpt2")
    _, why = pretraining_text(SHARDS, BYTES, CONTEXT, 4)
    assert why == "data/shards holds ids of the tokenizer 'gpt2', the model's is 'byte'"


def test_damaged_shards_are_an_error() -> None:
    write_shards()
    manifest = SHARDS / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"fingerprint": "x"}))
    with pytest.raises(ValueError, match="fingerprint"):
        pretraining_text(SHARDS, BYTES, CONTEXT, 4)
