"""The loss over all of validation: every target, by source, and a standard error that documents decide."""

import math

import numpy as np
import pytest
import torch

from stages.lib.gpt.model import GPT
from stages.lib.training import source_losses
from stages.lib.training.held_out import HeldOut
from stages.lib.training.source_losses import Pieces, by_source, mean_of, measure
from stages.lib.training.validation_loss import mean_loss
from tests.lib.training.test_held_out import split
from tests.lib.training.training_setup import ALONE, CONFIG

LENGTHS = [30, 7, 100, 1, 64, 250, 9, 41]
SOURCES = [0, 0, 1, 1, 2, 0, 2, 1]


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    made = GPT(CONFIG).train()
    with torch.no_grad():
        made.embedding.weight *= 20  # losses far apart
    return made


def pieces_of(lengths: list[int], documents: list[int], nats: list[float], windows: list[int] | None = None) -> Pieces:
    count = len(lengths)
    return Pieces(
        window=np.array(windows or range(count)),
        document=np.array(documents),
        source=np.zeros(count, dtype=np.int64),
        targets=np.array(lengths, dtype=np.float64),
        nats=np.array(nats, dtype=np.float64),
    )


@pytest.mark.parametrize("micro_batch", [1, 4, 100])
def test_means_are_over_the_targets_of_all_and_of_each_source(
    model: GPT, micro_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_losses, "_HEAD_ROWS", 7)
    shards = split(LENGTHS, SOURCES)
    held_out = HeldOut(shards, CONFIG.context)
    pieces = measure(model, held_out, micro_batch, "float32")
    assert model.training  # as it was before
    model.eval()
    expected: dict[str, list[float]] = {"a": [], "b": [], "c": []}
    source = np.repeat(SOURCES, LENGTHS)
    tokens = shards.read(0, shards.tokens).astype(np.int64)
    for start in range(0, shards.tokens - 1, CONFIG.context):
        window = torch.from_numpy(tokens[start : start + CONFIG.context + 1])
        with torch.no_grad():
            logs = model(window[None, :-1])[0].log_softmax(-1)
        for place in range(len(window) - 1):
            expected["abc"[source[start + place + 1]]].append(-float(logs[place, window[place + 1]]))
    found = by_source(pieces, shards.sources)
    for name, nats in expected.items():
        assert found[name].loss == pytest.approx(np.mean(nats), rel=1e-5)
        assert found[name].tokens == len(nats)
        assert found[name].documents == [SOURCES[k] for k in range(8)].count("abc".index(name))
    whole = mean_of(pieces)
    assert whole.tokens == sum(LENGTHS) - 1
    assert whole.documents == 8
    in_training = mean_loss(model, held_out, held_out.count, micro_batch=4, precision="float32", world=ALONE)
    assert whole.loss == pytest.approx(in_training, rel=1e-6)


def test_bfloat16_is_measured_as_in_training(model: GPT) -> None:
    held_out = HeldOut(split(LENGTHS, SOURCES), CONFIG.context)
    model.eval()
    whole = mean_of(measure(model, held_out, 4, "bfloat16")).loss
    in_training = mean_loss(model, held_out, held_out.count, micro_batch=4, precision="bfloat16", world=ALONE)
    assert whole == pytest.approx(in_training, rel=1e-6)
    assert whole != pytest.approx(mean_of(measure(model, held_out, 4, "float32")).loss, rel=1e-6)


def test_equal_documents_have_the_textbook_standard_error() -> None:
    losses = np.random.default_rng(0).normal(2, 0.3, 25)
    # Each document in two windows.
    pieces = pieces_of([10] * 50, np.repeat(np.arange(25), 2).tolist(), (np.repeat(losses, 2) * 10).tolist())
    found = mean_of(pieces)
    assert found.over == "documents" and found.documents == 25
    assert found.loss == pytest.approx(losses.mean())
    assert found.standard_error == pytest.approx(losses.std(ddof=1) / math.sqrt(25))


def test_the_error_of_documents_of_other_lengths_is_that_of_repeated_draws() -> None:
    rng = np.random.default_rng(1)
    means, errors, too_small = [], [], []
    for _ in range(400):
        windows = rng.geometric(0.3, 40)  # of each document
        document = np.repeat(np.arange(40), windows)
        level = rng.normal(2 + 0.05 * windows, 0.5)  # longer ones are harder
        nats = 16 * (level[document] + rng.normal(0, 0.2, len(document)))
        pieces = pieces_of([16] * len(document), document.tolist(), nats.tolist())
        found = mean_of(pieces)
        assert found.standard_error is not None
        means.append(found.loss)
        errors.append(found.standard_error)
        over_windows = mean_of(pieces_of([16] * len(document), list(range(len(document))), nats.tolist()))
        too_small.append(over_windows.standard_error or 0.0)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.12)
    assert np.mean(too_small) < 0.75 * np.std(means)  # windows of one document are alike


def test_few_documents_go_by_windows_and_one_window_has_no_error() -> None:
    nats = [20.0, 30.0, 28.0]
    found = mean_of(pieces_of([10, 10, 10], [0, 0, 1], nats))
    assert (found.over, found.documents) == ("windows", 2)
    assert found.standard_error == pytest.approx(np.std([2.0, 3.0, 2.8], ddof=1) / math.sqrt(3))
    assert "+-" in str(found) and "over windows" in str(found)
    # Two documents in one window are one cluster.
    alone = mean_of(pieces_of([10, 6], [0, 1], [20.0, 30.0], windows=[3, 3]))
    assert alone.standard_error is None
    assert str(alone) == "3.1250"
    assert mean_of(pieces_of([5] * 10, list(range(10)), [9.0] * 10)).over == "documents"
