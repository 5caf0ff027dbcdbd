"""LoRA weights added to the base's for a while, without touching the base's: one product a layer instead of three.

peft's `merge_adapter` and `unmerge_adapter` add to and subtract from the base's weights, which rounds them
differently after every training step, and what is merged learns nothing. Here the sums go to buffers of their own, the
layers are swapped, and gradients reach A and B through the sum:

    y = x W', W' = W + s B A;  dx = dy W';  dA = s (dy B)' x;  dB = s dy' (x A')

Shapes: N tokens, x (N, in), y (N, out), W (out, in), A (r, in), B (out, r); ' transposes.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class MergedLayers:
    """Plain linear layers in place of a model's LoRA layers, made once and filled before each use."""

    def __init__(self, model: Any) -> None:
        """`model`: peft's, of a model of transformers."""
        from peft.tuners.lora import Linear

        self._model = model
        self._places: list[tuple[nn.Module, str, Any, _Merged]] = []
        for parent in list(model.modules()):
            for name, child in parent.named_children():
                layer: Any = child
                # Quantized layers and DoRA keep their own forward pass.
                if type(layer) is Linear and type(layer.base_layer) is nn.Linear and not any(layer.use_dora.values()):
                    self._places.append((parent, name, layer, _Merged(layer)))

    @contextmanager
    def learning(self) -> Iterator[None]:
        """`swapped_in` where a training may compute so: on a CPU in float32, which keeps small updates, no dropout.

        On a GPU the sums would cost a pass over all weights. Checkpointed layers are computed again after the block.
        """
        fits = all(
            (layer.base_layer.weight.device.type, layer.base_layer.weight.dtype) == ("cpu", torch.float32)
            and all(isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())
            for _, _, layer, _ in self._places
        )
        with self.swapped_in() if fits and not self._model.is_gradient_checkpointing else nullcontext():
            yield

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The model computes with base + LoRA as one weight inside the block; a disabled adapter stays out of it."""
        places = [place for place in self._places if not place[2].disable_adapters]
        for parent, name, _, merged in places:
            merged.fill()
            setattr(parent, name, merged)
        try:
            yield
        finally:
            for parent, name, layer, _ in places:
                setattr(parent, name, layer)


class _Merged(nn.Module):
    """A layer's sum; it holds the LoRA layer without registering it, whose weights stay that layer's."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self._layer = (layer,)
        self._sum: Tensor | None = None

    def _factors(self) -> tuple[Tensor, Tensor, float]:
        (layer,) = self._layer
        (adapter,) = layer.active_adapters
        return layer.lora_A[adapter].weight, layer.lora_B[adapter].weight, layer.scaling[adapter]

    def fill(self) -> None:
        """Adds up the weights as they are now."""
        a, b, scale = self._factors()
        base = self._layer[0].base_layer.weight
        if self._sum is None:
            self._sum = torch.empty_like(base)
        with torch.no_grad():
            torch.addmm(base, b.to(base.dtype), a.to(base.dtype), alpha=scale, out=self._sum)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        bias = self._layer[0].base_layer.bias
        assert self._sum is not None
        if not torch.is_grad_enabled():
            return linear(x, self._sum, bias)
        result: Tensor = _MergedProduct.apply(x, *self._factors(), self._sum)  # type: ignore[no-untyped-call]
        return result if bias is None else result + bias


class _MergedProduct(torch.autograd.Function):
    """The module docstring's equations."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor, scale: float, merged: Tensor) -> Tensor:  # noqa: PLR0917
        ctx.save_for_backward(x, a, b, merged)
        ctx.scale = scale
        return linear(x, merged)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b, merged = ctx.saved_tensors
        dx = dy @ merged if ctx.needs_input_grad[0] else None
        rows, slopes = x.flatten(0, -2), dy.flatten(0, -2)
        da = ((slopes @ b).t() @ rows).mul_(ctx.scale)
        db = (slopes.t() @ (rows @ a.t())).mul_(ctx.scale)
        return dx, da, db, None, None
