"""Batches of instruction examples for training, in the template prompt `sep` answer `eot`."""

from collections.abc import Sequence
from typing import Literal, assert_never

import numpy as np

from stages.lib.instructions.examples import Example
from stages.lib.reading.documents import Drop
from stages.lib.tokens.instruction_template import example_ids
from stages.lib.tokens.targets import IGNORED
from stages.lib.tokens.tokenizers import Tokenizer

LossOn = Literal["all", "output"]
_WIDTH = 64  # tokens; batches are padded to a multiple of it


def tokenize(example: Example, tokenizer: Tokenizer, loss_on: LossOn) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of prompt `sep` answer `eot`, int64 (T,) each; `loss_on: output` ignores the prompt's."""
    ids = np.array(example_ids(tokenizer, example.prompt, example.answer), dtype=np.int64)
    targets = ids[1:].copy()
    match loss_on:
        case "all":
            pass
        case "output":
            # Up to and with the first `sep` (no text encodes to it), which the prompt's last token predicts.
            targets[: int(np.argmax(ids == tokenizer.sep))] = IGNORED
        case _:
            assert_never(loss_on)
    return ids[:-1], targets


class InstructionBatches:
    """Endless padded batches of examples, each epoch in an order of its own: `training.Batches`."""

    def __init__(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        context: int,
        loss_on: LossOn,
        *,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        """Tokenizes the examples; those over `context` tokens go into `dropped`, the others into `kept`.

        Raises:
            ValueError: nothing is left.
        """
        self.pad, self.context, self.seed, self.shuffle = tokenizer.pad, context, seed, shuffle
        self.rows: list[tuple[np.ndarray, np.ndarray]] = []
        self.kept: list[Example] = []
        self.dropped: list[Drop] = []
        for example in examples:
            row = tokenize(example, tokenizer, loss_on)
            if len(row[0]) > context:
                self.dropped.append(Drop(example.source, "longer_than_context", f"{len(row[0])} tokens"))
            else:
                self.rows.append(row)
                self.kept.append(example)
        if not self.rows:
            raise ValueError(
                f"no example is left of {len(examples)}: {len(self.dropped)} are longer than the context of "
                f"{context} tokens; give more examples, or a model with a longer context"
            )
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))  # of the epoch last asked for

    @property
    def per_epoch(self) -> int:
        """Examples an epoch."""
        return len(self.rows)

    @property
    def widest(self) -> int:
        """Tokens of the widest batch's rows, padding included."""
        return self._width(max(len(ids) for ids, _ in self.rows))

    def _width(self, tokens: int) -> int:
        return min(self.context, -(-tokens // _WIDTH) * _WIDTH)

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of examples first..first+count-1 of the endless sequence, int64 (count, T).

        A function of (seed, first, count) alone: Philox keyed by seed and epoch draws each epoch's order. T is the
        longest row's length rounded up to a multiple of 64, so that torch.compile meets few shapes.
        """
        places = [divmod(number, len(self.rows)) for number in range(first, first + count)]
        rows = [self.rows[self._epoch_order(epoch)[place]] for epoch, place in places]
        width = self._width(max(len(ids) for ids, _ in rows))
        inputs = np.full((count, width), self.pad, dtype=np.int64)
        targets = np.full((count, width), IGNORED, dtype=np.int64)
        for i, (ids, wanted) in enumerate(rows):
            inputs[i, : len(ids)], targets[i, : len(ids)] = ids, wanted
        return inputs, targets

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if self._order[0] != epoch:
            rng = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, epoch]))
            order = rng.permutation(len(self.rows)) if self.shuffle else np.arange(len(self.rows))
            self._order = (epoch, order)
        return self._order[1]
