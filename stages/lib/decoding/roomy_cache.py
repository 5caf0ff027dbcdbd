"""A key/value cache that is allocated once, and the batch of rows that grows on it, a token a step.

The cache can begin with a prefix that all rows share, kept once (grouped_attention.SharedPrefix), and can drop rows;
transformers' DynamicLayer concatenates (copies) all keys and values of all rows at every token. `GrowingBatch.grow` is
the one loop in which a model of transformers is asked for a token, told what was chosen and asked again: lib/llm's
replies and GRPO's rollouts differ in how they choose.

Shapes: B rows, H key/value heads, T tokens (P of them a shared prefix), D head dimension, V vocabulary.
"""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from stages.lib.core.progress import each
from stages.lib.decoding.grouped_attention import SharedPrefix, takes_shared_prefix

KEEP_ROWS = 0.75  # the batch is made smaller when this share of its rows or less is still growing


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """One layer's keys and values, written into a buffer with room for `capacity` tokens of each row."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.buffers: tuple[Tensor, Tensor] | None = None  # two of (B, H, capacity, D)
        self.prefix: tuple[Tensor, Tensor] | None = None  # two of (1, H, P, D), before what the buffers hold

    def get_seq_length(self) -> int:
        """Tokens of a row, the prefix among them."""
        own: int = super().get_seq_length()
        return own + self.prefix_length

    @property
    def prefix_length(self) -> int:
        """Tokens that are kept once for all rows, P."""
        return self.prefix[0].shape[-2] if self.prefix else 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Appends (B, H, T, D) states; returns all keys and values so far but for the prefix."""
        if self.buffers is None:
            rows, heads, _, width = key_states.shape
            self.lazy_initialization(key_states, value_states)
            capacity = self.capacity - self.prefix_length
            self.buffers = (
                key_states.new_empty(rows, heads, capacity, width),
                value_states.new_empty(rows, heads, capacity, value_states.shape[-1]),
            )
            self._show(0)
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        assert end <= self.capacity - self.prefix_length, (end, self.capacity, self.prefix_length)
        self.buffers[0][:, :, start:end] = key_states
        self.buffers[1][:, :, start:end] = value_states
        self._show(end)
        return self.keys, self.values

    def keep_tokens(self, count: int) -> None:
        """Forgets all but the first `count` tokens, P or more."""
        self._show(count - self.prefix_length)

    def select_rows(self, rows: Tensor) -> None:
        """Keeps the given rows, in this order."""
        if self.buffers is not None:
            count = self.keys.shape[-2]
            self.buffers = (self.buffers[0][rows], self.buffers[1][rows])
            self._show(count)

    def share(self) -> None:
        """Makes the tokens of the only row, so far, a prefix that all later rows share."""
        assert self.prefix is None and len(self.keys) == 1
        self.prefix, self.buffers, self.is_initialized = (self.keys, self.values), None, False

    def copy_prefix(self, rows: int) -> None:
        """Gives each of B = `rows` rows its copy of the prefix; for attention that knows of none."""
        if prefix := self.prefix:
            self.prefix = None
            self.update(*(states.expand(rows, -1, -1, -1) for states in prefix))

    def _show(self, count: int) -> None:
        assert self.buffers is not None
        self.keys, self.values = (buffer[:, :, :count] for buffer in self.buffers)


class RoomyCache(Cache):  # type: ignore[misc]  # transformers is untyped
    """A `RoomyLayer` for each layer of a decoder."""

    def __init__(self, layers: int, capacity: int) -> None:
        super().__init__(layers=[RoomyLayer(capacity) for _ in range(layers)])

    @classmethod
    def beginning_with(cls, prefix: "RoomyCache | None", layers: int, capacity: int) -> "RoomyCache":
        """A cache whose rows all begin with the one row of `prefix`, which is not copied."""
        cache = cls(layers, capacity)
        for layer, old in zip(cache.layers, prefix.layers if prefix else (), strict=False):
            layer.prefix = (old.keys, old.values)
        return cache

    @property
    def shared(self) -> SharedPrefix | None:
        """What all rows begin with, for the model's attention; None: nothing."""
        found = [layer.prefix for layer in self.layers if layer.prefix]
        return SharedPrefix(found) if found else None

    def copy_prefix(self, rows: int) -> None:
        """Gives each of B = `rows` rows its copy of the prefix."""
        for layer in self.layers:
            layer.copy_prefix(rows)

    def share(self) -> None:
        """Makes the tokens of the only row, so far, a prefix that all later rows share."""
        for layer in self.layers:
            layer.share()

    def keep_tokens(self, count: int) -> None:
        """Forgets all but the first `count` tokens of every row."""
        for layer in self.layers:
            if layer.buffers is not None:
                layer.keep_tokens(count)

    def select_rows(self, rows: Tensor) -> None:
        """Keeps the given rows, in this order."""
        for layer in self.layers:
            layer.select_rows(rows)


def left_padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Token ids and mask (1: a token), each (B, T)."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


class GrowingBatch:
    """Rows of tokens on one cache, and the logits of what comes next; the model has full attention."""

    def __init__(self, model: Any, cache: RoomyCache, rests: Sequence[Sequence[int]]) -> None:
        """Computes each row's tokens behind the P that the cache holds already.

        Args:
            model: a causal language model of transformers.
            cache: with room for all that the rows will grow to.
            rests: token ids, none empty.
        """
        self._model, self._cache = model, cache
        if not takes_shared_prefix(model):
            cache.copy_prefix(len(rests))
        self._prefix = cache.shared
        shared = cache.get_seq_length()
        ids, mask = left_padded(rests, pad=0, device=model.device)  # (B, T - P)
        positions = shared + (mask.cumsum(-1) - 1).clamp(min=0)
        self._mask = torch.cat([mask.new_ones(len(rests), shared), mask], dim=1)  # (B, T)
        self._position = positions[:, -1:]  # (B, 1), of each row's last token
        self.logits = self._forward(ids, positions)  # (B, V), of each row's next token, float32

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        logits: Tensor = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            **({"shared_prefix": self._prefix} if self._prefix else {}),
        ).logits[:, -1]
        assert not self._prefix or self._prefix.reads, "the model did not hand the shared prefix to its attention"
        return logits.float()

    def select_rows(self, rows: Sequence[int]) -> None:
        """Goes on with the given rows, in this order; one that is named twice becomes two.

        Copies of the only row share its tokens.
        """
        index = torch.tensor(rows, device=self._mask.device)
        if len(self._mask) == 1 < len(rows) and self._prefix is None and takes_shared_prefix(self._model):
            self._cache.share()
            self._prefix = self._cache.shared
        else:
            self._cache.select_rows(index)
        self._mask, self._position, self.logits = self._mask[index], self._position[index], self.logits[index]

    def grow(
        self,
        choose: Callable[[Tensor, list[int]], list[int]],
        push: Callable[[int, int], bool],
        most: int | None = None,
    ) -> None:
        """Grows all rows until each has ended.

        A row that has ended stays in the batch until enough others have: it is given tokens, which nobody sees.

        Args:
            choose: from logits (B, V) and the numbers of the B rows in the batch, the next token of each of them.
            push: takes a row's number and its next token; True when the row ends with it. Each row has to end.
            most: tokens of a row at most, which a stage's bar counts to.
        """
        alive = list(range(len(self.logits)))  # the number of each row in the batch
        ended: set[int] = set()
        for _ in each(count(), "tokens of each reply, at most", "token", total=most):
            tokens = choose(self.logits, alive)
            for row, token in zip(alive, tokens, strict=True):
                if row not in ended and push(row, token):
                    ended.add(row)
            keep = [place for place, row in enumerate(alive) if row not in ended]
            if not keep:
                return
            if len(keep) <= KEEP_ROWS * len(alive):
                self.select_rows(keep)
                alive, tokens = [alive[place] for place in keep], [tokens[place] for place in keep]
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(alive), 1)], dim=1)
            self._position = self._position + 1
            self.logits = self._forward(torch.tensor(tokens, device=self._mask.device)[:, None], self._position)
