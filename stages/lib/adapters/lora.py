"""A base in 4 bits (NF4, double quantization) with LoRA on it (QLoRA: Dettmers et al. 2023, arXiv:2305.14314)."""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, assert_never

from stages.lib.core.progress import doing
from stages.lib.weights.models import Dtype

if TYPE_CHECKING:
    import torch

Backend = Literal["hf", "unsloth"]
Checkpointing = Literal["none", "selective", "full"]


@dataclass(frozen=True, kw_only=True)
class Lora:
    """What is trained."""

    r: int  # rank, >= 1
    lora_alpha: int  # the update is scaled by lora_alpha / r
    lora_dropout: float  # of the adapter's input, 0 <= lora_dropout < 1
    target_modules: list[str]  # names of linear layers; empty: all but the output layer

    def __post_init__(self) -> None:
        for name in ("r", "lora_alpha"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is below 1")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"lora_dropout: {self.lora_dropout} is not in 0..1")


def lora_config(lora: Lora) -> Any:
    """peft's LoraConfig."""
    from peft import LoraConfig

    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=lora.target_modules or "all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )


@doing("loading the model in 4 bits")
def load_quantized(directory: Path, dtype: Dtype, unpacked: bool = False) -> Any:
    """The model with its linear layers in NF4 with double quantization, the rest in `dtype`; on the GPU if any.

    Args:
        directory: the base's.
        dtype: that it computes in.
        unpacked: on a CPU, hold what the 4 bits stand for as plain weights in `dtype`, unpacked once a process and
            frozen. bitsandbytes unpacks them in each forward and each backward pass and multiplies with the result, so
            the numbers are the same.

    Raises:
        ValueError: the weights cannot be quantized.
    """
    if not unpacked:
        return _load_4bit(directory, dtype)
    model = _load(directory, dtype)
    for name, layer in _unpacked_layers(directory, dtype).items():
        model.set_submodule(name, layer)
    return model


def _load(directory: Path, dtype: Dtype, **options: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=False, **options
    )
    model.config.use_cache = False
    return model


def _load_4bit(directory: Path, dtype: Dtype) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    place = {"": torch.cuda.current_device() if torch.cuda.is_available() else "cpu"}
    model = _load(directory, dtype, quantization_config=quantization, device_map=place)
    keep_packing(model)
    return model


@lru_cache(maxsize=1)
def _unpacked_layers(directory: Path, dtype: Dtype) -> "dict[str, torch.nn.Linear]":
    """Plain layers, frozen, in the place of those that are quantized, by name."""
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    layers: dict[str, torch.nn.Linear] = {}
    for name, layer in _load_4bit(directory, dtype).named_modules():
        if isinstance(layer, Linear4bit):
            with torch.device("meta"):
                plain = torch.nn.Linear(layer.in_features, layer.out_features, bias=False)
            weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            plain.weight = torch.nn.Parameter(weight, requires_grad=False)
            plain.bias = layer.bias
            layers[name] = plain
    return layers


def keep_packing(model: Any) -> None:
    """Keeps bitsandbytes from repacking 4-bit weights for inference.

    On CPUs with AVX512-BF16, the first forward pass in eval mode repacks a layer in place, for good; from then on its
    inputs get no gradient. A validation before the training would silently end it.
    """
    from bitsandbytes.nn import Linear4bit

    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    if not layers:
        raise ValueError("the model has no linear layer that bitsandbytes could quantize to 4 bits")
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False


def add_lora(model: Any, lora: Lora, seed: int) -> Any:
    """Puts a fresh adapter on the model, in float32, and freezes the rest; it starts as the base (B = 0).

    Raises:
        ValueError: `target_modules` names no layer of the model.
    """
    import torch
    from peft import get_peft_model

    torch.manual_seed(seed)
    try:
        tuned = get_peft_model(model, lora_config(lora))
    except ValueError as error:
        raise ValueError(f"target_modules {lora.target_modules}: {error}") from error
    return in_float32(tuned)


def in_float32(model: Any) -> Any:
    """Holds what is trained in float32: in bfloat16, steps below 0.4% of a weight are rounded away."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def load_unsloth(
    directory: Path, dtype: Dtype, lora: Lora, *, max_length: int, seed: int, checkpointing: Checkpointing
) -> Any:
    """The same by unsloth, whose kernels need a CUDA GPU; only in a process of its own (own_process tells why).

    `check_unsloth` says first whether it can. Import trl only after this: unsloth patches it.
    """
    import torch

    match checkpointing:
        case "none":
            full: str | bool = False
        case "full":
            full = "unsloth"
        case "selective":
            raise AssertionError("check_unsloth has refused it")
        case _:
            assert_never(checkpointing)
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(
        str(directory), max_seq_length=max_length, dtype=getattr(torch, dtype), load_in_4bit=True
    )
    default = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return FastLanguageModel.get_peft_model(
        model,
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=lora.target_modules or default,
        bias="none",
        use_gradient_checkpointing=full,
        random_state=seed,
    )


def check_unsloth(checkpointing: Checkpointing) -> None:
    """Checks that unsloth can run, without loading it.

    Raises:
        ValueError: no CUDA GPU, unsloth is not installed, or a checkpointing that it lacks.
    """
    import torch

    if not torch.cuda.is_available():
        raise ValueError("backend: unsloth needs a CUDA GPU, and torch sees none; use backend: hf")
    if importlib.util.find_spec("unsloth") is None:
        raise ValueError("backend: unsloth is not installed: make install-gpu, or backend: hf")
    if checkpointing == "selective":
        raise ValueError("gradient_checkpointing: unsloth has none and full; set one of them, or backend: hf")


def set_checkpointing(model: Any, checkpointing: Checkpointing) -> None:
    """What a layer keeps for the backward pass: everything, the products of matrices, or its input alone.

    `selective` computes only the cheap elementwise parts again; `full` computes each layer twice.
    """
    from torch.utils.checkpoint import create_selective_checkpoint_contexts

    options: dict[str, Any] = {"use_reentrant": False}
    match checkpointing:
        case "none":
            model.gradient_checkpointing_disable()
            return
        case "selective":
            options["context_fn"] = partial(create_selective_checkpoint_contexts, _keep_products)
        case "full":
            pass
        case _:
            assert_never(checkpointing)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)


def _keep_products(_context: Any, operator: Any, *_arguments: Any, **_named: Any) -> Any:
    from torch.utils.checkpoint import CheckpointPolicy

    name = str(operator)
    # gemm_4bit is bitsandbytes' product with a 4-bit matrix; mm, addmm, bmm are LoRA's and the attention's.
    kept = ("gemm_4bit", "aten.mm.", "aten.addmm.", "aten.bmm.", "scaled_dot_product", "flash_attn")
    return CheckpointPolicy.MUST_SAVE if any(part in name for part in kept) else CheckpointPolicy.PREFER_RECOMPUTE
