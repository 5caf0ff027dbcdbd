"""Where TRL's fused loss can run: its Triton kernel scores tokens on a GPU alone."""

from torch import Tensor


def has_fused_loss(tokens: Tensor) -> bool:
    """Whether TRL's kernel can score the tokens where they are; torch for CPUs comes without Triton."""
    return tokens.is_cuda
