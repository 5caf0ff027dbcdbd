"""Losses of learned tokens are those of the model's own logits, sample by sample."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from stages.lib.lora.batches import collate
from stages.lib.lora.masks import IGNORED, MaskedChat
from stages.lib.lora.supervised_logits import token_losses
from stages.lib.lora.validation_losses import sample_losses

SAMPLES = [
    MaskedChat("a", [5, 6, 7, 8, 9], [IGNORED, IGNORED, 7, 8, IGNORED]),
    MaskedChat("b", [9, 8, 7], [IGNORED, 8, 7]),
    MaskedChat("c", [11, 12, 13, 14, 15, 16, 17], [IGNORED, IGNORED, IGNORED, IGNORED, IGNORED, IGNORED, 17]),
]


@pytest.fixture(scope="module")
def model(tiny_directory: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_directory)


def nats(model: Any, sample: MaskedChat) -> list[float]:
    """Of each learned token, predicted from the tokens before it, by the whole logits of this sample alone."""
    with torch.no_grad():
        logits = model.eval()(input_ids=torch.tensor([sample.input_ids])).logits[0]
    learned = [k for k, label in enumerate(sample.labels) if label != IGNORED]
    return [float(cross_entropy(logits[k - 1], torch.tensor(sample.input_ids[k]))) for k in learned]


def test_each_learned_token_is_predicted_from_those_before_it(model: Any) -> None:
    inputs = collate(SAMPLES, pad_id=0, packing=False)
    labels = inputs.pop("labels")
    with torch.no_grad():
        found, rows = token_losses(model.eval(), inputs, labels)
    assert rows.tolist() == [0, 0, 1, 1, 2]
    assert found.tolist() == pytest.approx([one for sample in SAMPLES for one in nats(model, sample)], abs=1e-5)


@pytest.mark.parametrize("batch_tokens", [1, 10, 1000])
def test_a_samples_loss_is_the_mean_over_its_learned_tokens(model: Any, batch_tokens: int) -> None:
    model.train()
    found = sample_losses(model, SAMPLES, pad_id=0, batch_tokens=batch_tokens)
    assert model.training  # as it was
    assert found.tolist() == pytest.approx([np.mean(nats(model, sample)) for sample in SAMPLES], abs=1e-5)
