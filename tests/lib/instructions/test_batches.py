"""What of an instruction example is learned, and how examples are padded."""

import numpy as np
import pytest

from stages.lib.instructions.batches import InstructionBatches, LossOn, tokenize
from stages.lib.instructions.examples import Example
from stages.lib.tokens.targets import IGNORED
from stages.lib.tokens.tokenizers import load_tokenizer

BYTES = load_tokenizer("byte")
EXAMPLES = [Example(f"Say {i}.", "x" * (i + 1), f"s{i}") for i in range(5)]


def test_an_answer_is_learned_up_to_its_end_token() -> None:
    ids, targets = tokenize(Example("ab", "cd", "s"), BYTES, "all")
    a, b, c, d = (int(BYTES.encode(letter)[0]) for letter in "abcd")
    assert ids.tolist() == [a, b, BYTES.sep, c, d]
    assert targets.tolist() == [b, BYTES.sep, c, d, BYTES.eot]
    ids, targets = tokenize(Example("ab", "cd", "s"), BYTES, "output")
    assert ids.tolist() == [a, b, BYTES.sep, c, d]
    assert targets.tolist() == [IGNORED, IGNORED, c, d, BYTES.eot]  # neither the prompt nor `sep`


@pytest.mark.parametrize("loss_on", ["all", "output"])
def test_padding_is_not_learned(loss_on: LossOn) -> None:
    batches = InstructionBatches(EXAMPLES, BYTES, 128, loss_on, shuffle=False)
    inputs, targets = batches.batch(0, 5)
    assert inputs.shape == targets.shape == (5, 64)
    for example, ids, wanted in zip(EXAMPLES, inputs, targets, strict=True):
        row, row_targets = tokenize(example, BYTES, loss_on)
        assert ids[: len(row)].tolist() == row.tolist()
        assert wanted[: len(row)].tolist() == row_targets.tolist()
        assert set(ids[len(row) :]) == {BYTES.pad}
        assert set(wanted[len(row) :]) == {IGNORED}


def test_what_fills_the_context_stays_and_what_is_longer_goes() -> None:
    longest = max(len(tokenize(example, BYTES, "all")[0]) for example in EXAMPLES)
    assert InstructionBatches(EXAMPLES, BYTES, longest, "all").dropped == []
    shorter = InstructionBatches(EXAMPLES, BYTES, longest - 1, "all")
    assert [(drop.source, drop.reason) for drop in shorter.dropped] == [("s4", "longer_than_context")]
    assert shorter.per_epoch == 4
    assert shorter.batch(0, 4)[0].shape[1] <= longest - 1


def test_epochs_have_orders_of_their_own_and_every_example_once() -> None:
    batches = InstructionBatches(EXAMPLES, BYTES, 64, "all", seed=3)
    epochs = [batches.batch(5 * epoch, 5)[0] for epoch in range(4)]
    assert all(np.array_equal(np.sort(epoch, axis=0), np.sort(epochs[0], axis=0)) for epoch in epochs)
    assert len({epoch.tobytes() for epoch in epochs}) > 1
    whole = batches.batch(3, 6)[0]  # over the end of an epoch
    assert np.array_equal(whole, np.concatenate([epochs[0][3:], epochs[1][:4]]))
    assert not np.array_equal(epochs[0], InstructionBatches(EXAMPLES, BYTES, 64, "all", seed=4).batch(0, 5)[0])


def test_the_widest_batch_is_known_beforehand() -> None:
    examples = [*EXAMPLES, Example("p" * 100, "a" * 28, "long")]
    batches = InstructionBatches(examples, BYTES, 512, "output", shuffle=False)
    assert max(batches.batch(i, 1)[0].shape[1] for i in range(6)) == batches.widest == 192  # 129 tokens
    assert InstructionBatches(examples, BYTES, 130, "output").widest == 130
    assert InstructionBatches(EXAMPLES, BYTES, 512, "output").widest == 64
