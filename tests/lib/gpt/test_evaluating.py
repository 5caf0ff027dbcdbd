"""What is another inside `evaluating`, and that it is undone."""

from typing import Any

import numpy as np
import pytest
import torch

from stages.lib.gpt.evaluating import evaluating
from stages.lib.gpt.generate import generate
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.gpt.sampling import TokenSampling
from stages.lib.hellaswag.scoring import EndingRow, log_likelihoods


@pytest.fixture
def model() -> GPT:
    return GPT(GPTConfig(vocab_size=32, context=8, n_layer=1, n_head=2, d_model=8, dropout=0.5)).train()


def test_tf32_is_allowed_inside_alone_also_after_an_error(model: GPT) -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    assert before != "tf32"  # float32 trainings are exact
    with pytest.raises(RuntimeError, match="inside"), evaluating(model):
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        assert not model.training and not torch.is_grad_enabled()
        raise RuntimeError("inside")
    assert torch.backends.cuda.matmul.fp32_precision == before
    assert model.training and torch.is_grad_enabled()


def test_generation_runs_inside(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    logits = GPT.logits

    def noted(self: GPT, hidden: torch.Tensor) -> torch.Tensor:
        seen.append(torch.backends.cuda.matmul.fp32_precision)
        return logits(self, hidden)

    monkeypatch.setattr(GPT, "logits", noted)
    generate(model, [[1]], max_new_tokens=2, sampling=TokenSampling(temperature=0.0), valid_ids=30)
    assert seen == ["tf32", "tf32"]


def test_hellaswag_is_scored_inside(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []
    hidden = GPT.hidden

    def noted(self: GPT, *args: Any) -> torch.Tensor:
        seen.append((torch.backends.cuda.matmul.fp32_precision, self.training))
        return hidden(self, *args)

    monkeypatch.setattr(GPT, "hidden", noted)
    log_likelihoods(model, [EndingRow(np.array([1, 2, 3]), 1, 1.0)])
    assert seen == [("tf32", False)]
    assert model.training
