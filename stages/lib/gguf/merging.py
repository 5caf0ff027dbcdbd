"""The model that is released: the base, an adapter merged into it, or our own GPT; weights and tokenizer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.lib.weights.base import load_adapter, load_base, load_tokenizer
from stages.lib.weights.models import Dtype, ModelEntry


@dataclass(frozen=True)
class Merged:
    """A transformers model in eval mode, its tokenizer, and how often a matrix was changed by an adapter."""

    model: Any
    tokenizer: Any
    merged_modules: int


def open_base(base: ModelEntry, dtype: Dtype) -> Merged:
    """The base as it is.

    Raises:
        ValueError: its weights are absent or not the pinned ones.
    """
    model, tokenizer = load_base(base, dtype)
    return Merged(model, tokenizer, 0)


def open_merged(base: str, entry: ModelEntry, adapter: Path, dtype: Dtype) -> Merged:
    """The de-quantized `models.<base>` of the given dtype with the adapter's products added to its matrices.

    Raises:
        ValueError: the adapter is not whole, of another base, or holds NaN; or it changes nothing.
    """
    import torch

    tuned, tokenizer = load_adapter(base, entry, adapter, dtype)
    layers = [module for module in tuned.modules() if hasattr(module, "lora_B")]
    factors = [layer.lora_B[name].weight for layer in layers for name in layer.lora_B]
    if not factors or not any(bool(factor.any()) for factor in factors):
        raise ValueError(f"{adapter}: the adapter changes nothing: all its B matrices are zero; was it trained?")
    if not all(bool(torch.isfinite(factor).all()) for factor in factors):
        raise ValueError(f"{adapter}: the adapter holds NaN or infinity: the training diverged")
    return Merged(tuned.merge_and_unload(safe_merge=True).eval(), tokenizer, len(layers))


def open_directory(directory: Path, dtype: Dtype) -> Merged:
    """A whole model in transformers' layout.

    Raises:
        ValueError: transformers cannot read it.
    """
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
        return Merged(model.eval(), load_tokenizer(directory), 0)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{directory}: transformers cannot read it: {error}") from error
