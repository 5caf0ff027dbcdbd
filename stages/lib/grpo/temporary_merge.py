"""LoRA weights added to the base's for a while, without touching the base's.

peft's `merge_adapter` and `unmerge_adapter` add to and subtract from the base's weights, which rounds them
differently after every training step. Here the sums go to buffers of their own and the layers are swapped.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class MergedLayers:
    """Plain linear layers in place of a model's LoRA layers, made once and filled before each use."""

    def __init__(self, model: nn.Module) -> None:
        from peft.tuners.lora import Linear

        self._places: list[tuple[nn.Module, str, Any, nn.Linear]] = []
        for parent in list(model.modules()):
            for name, child in parent.named_children():
                layer: Any = child
                # Quantized layers and DoRA keep their own forward pass.
                if type(layer) is Linear and type(layer.base_layer) is nn.Linear and not any(layer.use_dora.values()):
                    base: nn.Linear = layer.base_layer
                    with torch.device("meta"):
                        plain = nn.Linear(base.in_features, base.out_features, bias=False)
                    plain.weight = nn.Parameter(torch.empty_like(base.weight), requires_grad=False)
                    plain.bias = base.bias
                    self._places.append((parent, name, layer, plain))

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The model computes with base + LoRA as one weight inside the block; gradients do not pass."""
        with torch.no_grad():
            for _, _, layer, plain in self._places:
                (adapter,) = layer.active_adapters
                weight = layer.base_layer.weight
                torch.addmm(
                    weight,
                    layer.lora_B[adapter].weight.to(weight.dtype),
                    layer.lora_A[adapter].weight.to(weight.dtype),
                    alpha=layer.scaling[adapter],
                    out=plain.weight.data,
                )
        try:
            for parent, name, _, plain in self._places:
                setattr(parent, name, plain)
            yield
        finally:
            for parent, name, layer, _ in self._places:
                setattr(parent, name, layer)
