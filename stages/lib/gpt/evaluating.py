"""A model in evaluation mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients, and TF32 inside; the mode from before is restored.

    TF32 (float32 products with 10 bits of mantissa, many times faster) is a thing of cards of the Ampere generation
    and later; elsewhere it changes nothing. A training in float32 is left exact: it runs outside.
    """
    products = torch.backends.cuda.matmul
    was_training, precision = model.training, products.fp32_precision
    model.eval()
    products.fp32_precision = "tf32"
    try:
        with torch.no_grad():
            yield
    finally:
        products.fp32_precision = precision
        model.train(was_training)
