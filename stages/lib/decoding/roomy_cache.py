"""A key/value cache that is allocated once, can begin with a shared prefix, and can drop rows.

Shapes: B rows, H key/value heads, T tokens, D head dimension.
transformers' DynamicLayer concatenates (copies) all keys and values of all rows at every token.
"""

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """One layer's keys and values, written into a buffer with room for `capacity` tokens."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.buffers: tuple[torch.Tensor, torch.Tensor] | None = None  # two of (B, H, capacity, D)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends (B, H, T, D) states; returns all keys and values so far."""
        if self.buffers is None:
            rows, heads, _, width = key_states.shape
            self.lazy_initialization(key_states, value_states)
            self.buffers = (
                key_states.new_empty(rows, heads, self.capacity, width),
                value_states.new_empty(rows, heads, self.capacity, value_states.shape[-1]),
            )
            self.keep_tokens(0)
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        assert end <= self.capacity, (end, self.capacity)
        self.buffers[0][:, :, start:end] = key_states
        self.buffers[1][:, :, start:end] = value_states
        self.keep_tokens(end)
        return self.keys, self.values

    def keep_tokens(self, count: int) -> None:
        """Forgets all but the first `count` tokens."""
        assert self.buffers is not None
        self.keys, self.values = (buffer[:, :, :count] for buffer in self.buffers)

    def select_rows(self, rows: torch.Tensor) -> None:
        """Keeps the given rows, in this order."""
        assert self.buffers is not None
        count = self.keys.shape[-2]
        self.buffers = (self.buffers[0][rows], self.buffers[1][rows])
        self.keep_tokens(count)


class RoomyCache(Cache):  # type: ignore[misc]  # transformers is untyped
    """A `RoomyLayer` for each layer of a decoder."""

    def __init__(self, layers: int, capacity: int) -> None:
        super().__init__(layers=[RoomyLayer(capacity) for _ in range(layers)])

    @classmethod
    def beginning_with(cls, prefix: "RoomyCache | None", layers: int, rows: int, capacity: int) -> "RoomyCache":
        """A cache of B = `rows` rows that each begin with the one row of `prefix`."""
        cache = cls(layers, capacity)
        for layer, old in zip(cache.layers, prefix.layers if prefix else (), strict=False):
            layer.update(old.keys.expand(rows, -1, -1, -1), old.values.expand(rows, -1, -1, -1))
        return cache

    def keep_tokens(self, count: int) -> None:
        """Forgets all but the first `count` tokens of every row."""
        for layer in self.layers:
            if layer.buffers is not None:
                layer.keep_tokens(count)

    def select_rows(self, rows: torch.Tensor) -> None:
        """Keeps the given rows, in this order."""
        for layer in self.layers:
            layer.select_rows(rows)
