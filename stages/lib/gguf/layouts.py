"""What llama.cpp calls the config and the tensors of a transformers model, family by family.

Llama and Mistral share llama.cpp's `llama`; Qwen2, Qwen3 and GPT-2 have an architecture each. llama.cpp's `llama`
turns neighbouring dimensions of a head by rope where transformers turns the two halves, so that rows of q and k are
reordered there; GPT-2's Conv1D matrices are transposed. Where a config has what the architecture lacks, this
refuses: a file that computes something else is worse than none.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import gguf
import torch
from torch import Tensor

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "gpt2": gguf.MODEL_ARCH.GPT2,
}
ROPE_FACTORS = "rope_freqs.weight"  # llama.cpp divides the frequency of each pair of dimensions by them
CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
KeyValues = dict[str, int | float | str]  # keys without the architecture's prefix


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A tensor's place in both worlds."""

    name: str  # in the file
    source: str  # in transformers' state dict
    shape: tuple[int, ...]  # in the file, rows first
    heads: int = 0  # > 0: the rows of each of so many heads are interleaved for llama.cpp's rope
    transposed: bool = False

    def to_gguf(self, tensor: Tensor) -> Tensor:
        """Transformers' tensor as llama.cpp wants it."""
        if self.transposed:
            return tensor.T.contiguous()
        if self.heads:
            return tensor.reshape(self.heads, 2, -1, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)
        return tensor

    def from_gguf(self, tensor: Tensor) -> Tensor:
        """The way back."""
        if self.transposed:
            return tensor.T.contiguous()
        if self.heads:
            return tensor.reshape(self.heads, -1, 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)
        return tensor


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one model is written."""

    architecture: str  # llama.cpp's name
    blocks: int
    context: int  # tokens
    vocabulary: int  # rows of the embedding
    key_values: KeyValues
    tensors: tuple[Placed, ...]
    rope_factors: tuple[float, ...] = ()


def make_layout(config: Any, shapes: dict[str, tuple[int, ...]]) -> Layout:
    """The layout of a model with this transformers config and these tensors.

    Raises:
        ValueError: the family is not known, the config has a part that llama.cpp's architecture lacks, or a tensor
            has no name there.
    """
    family = config.model_type
    if family not in ARCHITECTURES:
        raise ValueError(f"model_type {family!r}: no GGUF layout is known for it; there are {sorted(ARCHITECTURES)}")
    architecture = ARCHITECTURES[family]
    if getattr(config, "quantization_config", None):
        raise ValueError("the model is quantized: a GGUF file is made of 16-bit or 32-bit weights")
    values, factors = (_gpt2(config), ()) if family == "gpt2" else _llama_like(config)
    blocks = int(values["block_count"])
    names = gguf.get_tensor_name_map(architecture, blocks)
    tied = bool(config.tie_word_embeddings)
    return Layout(
        architecture=gguf.MODEL_ARCH_NAMES[architecture],
        blocks=blocks,
        context=int(values["context_length"]),
        vocabulary=int(config.vocab_size),
        key_values=values,
        tensors=tuple(_place(config, names, shapes, tied)),
        rope_factors=factors,
    )


def _place(config: Any, names: Any, shapes: dict[str, tuple[int, ...]], tied: bool) -> Iterator[Placed]:
    interleaved = config.model_type in ("llama", "mistral")
    heads = {} if config.model_type == "gpt2" else {"q_proj": config.num_attention_heads}
    if heads:
        heads["k_proj"] = config.num_key_value_heads
    for source, shape in sorted(shapes.items(), key=lambda item: _order(item[0])):
        if (tied and source == "lm_head.weight") or source.endswith(
            (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
        ):
            continue
        name = names.get_name(key=source, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ValueError(f"tensor {source} of model_type {config.model_type!r} has no name in llama.cpp")
        module = source.split(".")[-2]
        transposed = config.model_type == "gpt2" and source.endswith(CONV1D)
        yield Placed(
            name=name,
            source=source,
            shape=tuple(reversed(shape)) if transposed else shape,
            heads=heads.get(module, 0) if interleaved else 0,
            transposed=transposed,
        )


def _order(source: str) -> tuple[int, str]:
    """Block by block, what is before and after the blocks at the beginning."""
    return next((int(part) for part in source.split(".") if part.isdecimal()), -1), source


def _refuse(config: Any, allowed: dict[str, Iterable[Any]]) -> None:
    for key, values in allowed.items():
        found = getattr(config, key, None)
        if found is not None and found not in tuple(values):
            raise ValueError(
                f"config: {key} is {found!r}; llama.cpp computes {config.model_type} with "
                f"{' or '.join(map(repr, values))} alone"
            )


def _gpt2(config: Any) -> KeyValues:
    # llama.cpp has but the tanh form of GELU; for the exact one (our `gelu`) the logits differ in the fourth digit,
    # which the release gate measures.
    _refuse(
        config,
        {
            "activation_function": ("gelu_new", "gelu_pytorch_tanh", "gelu"),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        },
    )
    return {
        "block_count": config.n_layer,
        "context_length": config.n_positions,
        "embedding_length": config.n_embd,
        "feed_forward_length": config.n_inner or 4 * config.n_embd,
        "attention.head_count": config.n_head,
        "attention.layer_norm_epsilon": float(config.layer_norm_epsilon),
    }


def _llama_like(config: Any) -> tuple[KeyValues, tuple[float, ...]]:
    _refuse(config, {"hidden_act": ("silu",), "use_sliding_window": (False,), "pretraining_tp": (1,)})
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    context = config.max_position_embeddings
    if config.model_type == "mistral" and config.sliding_window:
        # llama.cpp's `llama` has no sliding window. Up to its length there is no difference.
        context = min(context, config.sliding_window)
    rope, factors = _rope(config, head)
    values: KeyValues = {
        "block_count": config.num_hidden_layers,
        "context_length": context,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "attention.key_length": head,
        "attention.value_length": head,
        "rope.dimension_count": head,
        "vocab_size": config.vocab_size,
    }
    return values | rope, factors


def _rope(config: Any, head: int) -> tuple[KeyValues, tuple[float, ...]]:
    rope = dict(config.rope_parameters)
    kind, base = rope.pop("rope_type", "default"), float(rope.pop("rope_theta", 10000.0))
    if rope.pop("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError("config: rope with partial_rotary_factor: llama.cpp turns whole heads in this architecture")
    values: KeyValues = {"rope.freq_base": base}
    if kind == "default":
        return values, ()
    if kind == "llama3":
        return values, llama3_factors(head, base, **rope)
    if kind == "linear":
        return values | {"rope.scaling.type": "linear", "rope.scaling.factor": float(rope["factor"])}, ()
    if kind == "yarn":
        factor, original = float(rope.pop("factor")), int(rope.pop("original_max_position_embeddings"))
        extra = {
            key: found for key, found in rope.items() if found not in (None, {"beta_fast": 32, "beta_slow": 1}.get(key))
        }
        if extra:
            raise ValueError(f"config: rope_type yarn with {extra}: only factor and the original length are written")
        scaling: KeyValues = {"rope.scaling.type": "yarn", "rope.scaling.factor": factor}
        return values | scaling | {"rope.scaling.original_context_length": original}, ()
    raise ValueError(f"config: rope_type {kind!r} is not written; known are default, linear, llama3 and yarn")


def llama3_factors(
    head: int,
    base: float,
    *,
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    original_max_position_embeddings: int,
) -> tuple[float, ...]:
    """By what llama.cpp divides each of the head / 2 frequencies, as Llama 3.1 scales them (transformers'
    `_compute_llama3_parameters`): long waves by `factor`, short ones by 1, those between smoothly."""
    waves = 2 * math.pi * base ** (torch.arange(0, head, 2, dtype=torch.float32) / head)
    smooth = (original_max_position_embeddings / waves - low_freq_factor) / (high_freq_factor - low_freq_factor)
    between = 1 / ((1 - smooth) / factor + smooth)
    long = waves > original_max_position_embeddings / low_freq_factor
    short = waves < original_max_position_embeddings / high_freq_factor
    chosen = torch.where(short, torch.ones(()), torch.where(long, torch.tensor(float(factor)), between))
    return tuple(chosen.tolist())
