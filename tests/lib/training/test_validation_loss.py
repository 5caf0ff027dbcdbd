"""The mean loss is over targets, each sequence once, whatever the micro-batches."""

import numpy as np
import pytest
import torch

from stages.lib.gpt.model import GPT
from stages.lib.tokens.targets import IGNORED
from stages.lib.training.validation_loss import mean_loss
from tests.lib.training.training_setup import ALONE, CONFIG, Counting


class Uneven(Counting):
    """As `Counting`, but sequence number n has just n + 1 targets."""

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Batches`."""
        ids, targets = super().batch(first, count)
        beyond = np.arange(CONFIG.context)[None, :] > np.arange(first, first + count)[:, None]
        return ids, np.where(beyond, IGNORED, targets)


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 4, 7])
def test_every_target_of_the_first_sequences_counts_once(micro_batch: int) -> None:
    torch.manual_seed(0)
    model = GPT(CONFIG).eval()
    with torch.no_grad():
        model.embedding.weight *= 20  # losses far apart
        nats = []
        for number in range(5):
            ids, targets = (torch.from_numpy(array) for array in Uneven().batch(number, 1))
            logits = model(ids)[0]
            learned = [k for k, target in enumerate(targets[0].tolist()) if target != IGNORED]
            nats += [float(-logits[k].log_softmax(-1)[targets[0, k]]) for k in learned]
    found = mean_loss(model, Uneven(), 5, micro_batch=micro_batch, precision="float32", world=ALONE)
    assert found == pytest.approx(np.mean(nats), rel=1e-5)
