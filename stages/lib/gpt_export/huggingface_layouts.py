"""Config and tensors in the two layouts of transformers which can hold a GPT, there and back.

GPT-2 (learned positions, layer norm), where all is as in ours but for transposed matrices; and Llama (rope,
RMSNorm), whose MLP is gated, down(silu(gate(x)) * up(x)), while ours is not. With the sigmoid form of GELU the two
meet: x sigmoid(1.702 x) = silu(1.702 x) / 1.702, so gate = 1.702 up, up = 0 x + 1, down = down / 1.702. So
transformers, vLLM and llama.cpp, whose Llama has SiLU built in, compute our model as they stand.
"""

from collections.abc import Iterator
from typing import Any, assert_never

import torch
from torch import Tensor

from stages.lib.gpt.checkpoints import CONFIG
from stages.lib.gpt.model import Activation, GPTConfig

Tensors = dict[str, Tensor]

SIGMOID_GELU = 1.702
GPT2_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "gelu_sigmoid",
}
# Module of a block in ours -> in GPT-2. Its matrices are Conv1D's: (in, out) instead of (out, in).
GPT2_BLOCK = {
    "norm1": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "norm2": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}
LLAMA_PARTS = ("q_proj", "k_proj", "v_proj")  # of our qkv, one below the other


def _demand(theirs: Any, **expected: Any) -> None:
    """Raises `ValueError` when a key of the config has another value, since our model has nothing for it."""
    for key, value in expected.items():
        if getattr(theirs, key) != value:
            raise ValueError(f"{CONFIG}: {key} is {getattr(theirs, key)!r}; our model has {value!r} alone")


def _gpt2_modules(config: GPTConfig) -> Iterator[tuple[str, str, bool]]:
    """Names of the modules of all blocks and the last norm, ours and theirs, and whether theirs is a Conv1D."""
    for layer in range(config.n_layer):
        for ours, theirs in GPT2_BLOCK.items():
            yield f"blocks.{layer}.{ours}", f"transformer.h.{layer}.{theirs}", "norm" not in ours
    yield "norm", "transformer.ln_f", False


def from_gpt2(theirs: Any, tensors: Tensors) -> tuple[GPTConfig, Tensors]:
    """A GPT-2's config and tensors -> ours. `ValueError`: it is a variant that we lack; `KeyError`: no such tensor."""
    if theirs.activation_function not in GPT2_ACTIVATIONS:
        raise ValueError(f"{CONFIG}: activation_function {theirs.activation_function!r} is not a GELU")
    _demand(theirs, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    if theirs.n_inner is not None:
        _demand(theirs, n_inner=4 * theirs.n_embd)
    config = GPTConfig(
        vocab_size=theirs.vocab_size,
        context=theirs.n_positions,
        n_layer=theirs.n_layer,
        n_head=theirs.n_head,
        d_model=theirs.n_embd,
        position="learned",
        norm="layernorm",
        norm_eps=theirs.layer_norm_epsilon,
        activation=GPT2_ACTIVATIONS[theirs.activation_function],
        bias=True,
        tied=theirs.tie_word_embeddings,
    )
    # OpenAI's files on the hub name the tensors without the prefix.
    if "wte.weight" in tensors:
        tensors = {name if name == "lm_head.weight" else f"transformer.{name}": t for name, t in tensors.items()}
    weights = {
        "embedding.weight": tensors["transformer.wte.weight"],
        "positions.weight": tensors["transformer.wpe.weight"],
    }
    for our, their, transposed in _gpt2_modules(config):
        weight = tensors[f"{their}.weight"]
        weights[f"{our}.weight"] = weight.T if transposed else weight
        weights[f"{our}.bias"] = tensors[f"{their}.bias"]
    if not config.tied:
        weights["head.weight"] = tensors["lm_head.weight"]
    return config, weights


def to_gpt2(config: GPTConfig, ours: Tensors) -> tuple[Any, Tensors]:
    """Our config and weights -> `GPT2Config` and its tensors. `ValueError`: another activation than GPT-2's."""
    from transformers import GPT2Config

    match config.activation:
        case "gelu":
            activation = "gelu"
        case "gelu_tanh":
            activation = "gelu_new"
        case "gelu_sigmoid":
            raise ValueError("activation gelu_sigmoid is none of GPT-2's; train with gelu_tanh or gelu")
        case _:
            assert_never(config.activation)
    theirs = GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.context,
        n_ctx=config.context,  # asked for by llama.cpp's converter
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_embd=config.d_model,
        activation_function=activation,
        layer_norm_epsilon=config.norm_eps,
        resid_pdrop=config.dropout,
        embd_pdrop=config.dropout,
        attn_pdrop=config.dropout,
        tie_word_embeddings=config.tied,
        bos_token_id=None,
        eos_token_id=None,
        architectures=["GPT2LMHeadModel"],
    )
    weights = {
        "transformer.wte.weight": ours["embedding.weight"],
        "transformer.wpe.weight": ours["positions.weight"],
    }
    for our, their, transposed in _gpt2_modules(config):
        weight = ours[f"{our}.weight"]
        weights[f"{their}.weight"] = weight.T if transposed else weight
        weights[f"{their}.bias"] = _bias(ours, our)
    if not config.tied:
        weights["lm_head.weight"] = ours["head.weight"]
    return theirs, weights


def from_llama(theirs: Any, tensors: Tensors) -> tuple[GPTConfig, Tensors]:
    """What `to_llama` makes -> ours. `ValueError`: it is another Llama; `KeyError`: no such tensor."""
    _demand(
        theirs,
        hidden_act="silu",
        mlp_bias=True,
        intermediate_size=4 * theirs.hidden_size,
        num_key_value_heads=theirs.num_attention_heads,
        head_dim=theirs.hidden_size // theirs.num_attention_heads,
    )
    if theirs.rope_parameters["rope_type"] != "default":
        raise ValueError(f"{CONFIG}: rope_type {theirs.rope_parameters['rope_type']!r} is not 'default'")
    config = GPTConfig(
        vocab_size=theirs.vocab_size,
        context=theirs.max_position_embeddings,
        n_layer=theirs.num_hidden_layers,
        n_head=theirs.num_attention_heads,
        d_model=theirs.hidden_size,
        rope_theta=float(theirs.rope_parameters["rope_theta"]),
        norm_eps=theirs.rms_norm_eps,
        bias=theirs.attention_bias,
        tied=theirs.tie_word_embeddings,
    )
    weights = {"embedding.weight": tensors["model.embed_tokens.weight"], "norm.weight": tensors["model.norm.weight"]}
    for layer in range(config.n_layer):
        our, their = f"blocks.{layer}", f"model.layers.{layer}"
        if tensors[f"{their}.mlp.up_proj.weight"].any() or (tensors[f"{their}.mlp.up_proj.bias"] != 1).any():
            raise ValueError(f"{their}.mlp.up_proj is not 0 x + 1: a gated MLP, which our model does not have")
        weights[f"{our}.norm1.weight"] = tensors[f"{their}.input_layernorm.weight"]
        weights[f"{our}.norm2.weight"] = tensors[f"{their}.post_attention_layernorm.weight"]
        for kind in ("weight", "bias") if config.bias else ("weight",):
            parts = [tensors[f"{their}.self_attn.{part}.{kind}"] for part in LLAMA_PARTS]
            weights[f"{our}.attention.qkv.{kind}"] = torch.cat(parts)
            weights[f"{our}.attention.out.{kind}"] = tensors[f"{their}.self_attn.o_proj.{kind}"]
            weights[f"{our}.mlp.up.{kind}"] = tensors[f"{their}.mlp.gate_proj.{kind}"].float() / SIGMOID_GELU
            down = tensors[f"{their}.mlp.down_proj.{kind}"].float()
            weights[f"{our}.mlp.down.{kind}"] = down * SIGMOID_GELU if kind == "weight" else down
    if not config.tied:
        weights["head.weight"] = tensors["lm_head.weight"]
    return config, weights


def to_llama(config: GPTConfig, ours: Tensors) -> tuple[Any, Tensors]:
    """Our config and weights -> `LlamaConfig` and its tensors. `ValueError`: another activation than gelu_sigmoid."""
    from transformers import LlamaConfig

    if config.activation != "gelu_sigmoid":
        raise ValueError(
            f"activation {config.activation!r} with rope: Llama, which has rope, has SiLU alone; train with "
            "gelu_sigmoid, which is a scaled SiLU"
        )
    theirs = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        intermediate_size=4 * config.d_model,
        num_hidden_layers=config.n_layer,
        num_attention_heads=config.n_head,
        max_position_embeddings=config.context,
        rms_norm_eps=config.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        attention_bias=config.bias,
        mlp_bias=True,
        tie_word_embeddings=config.tied,
        bos_token_id=None,
        eos_token_id=None,
        architectures=["LlamaForCausalLM"],
    )
    weights = {"model.embed_tokens.weight": ours["embedding.weight"], "model.norm.weight": ours["norm.weight"]}
    for layer in range(config.n_layer):
        our, their = f"blocks.{layer}", f"model.layers.{layer}"
        weights[f"{their}.input_layernorm.weight"] = ours[f"{our}.norm1.weight"]
        weights[f"{their}.post_attention_layernorm.weight"] = ours[f"{our}.norm2.weight"]
        for kind in ("weight", "bias") if config.bias else ("weight",):
            for part, tensor in zip(LLAMA_PARTS, ours[f"{our}.attention.qkv.{kind}"].chunk(3), strict=True):
                weights[f"{their}.self_attn.{part}.{kind}"] = tensor
            weights[f"{their}.self_attn.o_proj.{kind}"] = ours[f"{our}.attention.out.{kind}"]
        up = ours[f"{our}.mlp.up.weight"]
        weights[f"{their}.mlp.gate_proj.weight"] = up * SIGMOID_GELU
        weights[f"{their}.mlp.gate_proj.bias"] = _bias(ours, f"{our}.mlp.up") * SIGMOID_GELU
        weights[f"{their}.mlp.up_proj.weight"] = torch.zeros_like(up)
        weights[f"{their}.mlp.up_proj.bias"] = torch.ones(up.shape[0])
        weights[f"{their}.mlp.down_proj.weight"] = ours[f"{our}.mlp.down.weight"] / SIGMOID_GELU
        weights[f"{their}.mlp.down_proj.bias"] = _bias(ours, f"{our}.mlp.down")
    if not config.tied:
        weights["lm_head.weight"] = ours["head.weight"]
    return theirs, weights


def _bias(ours: Tensors, module: str) -> Tensor:
    """The bias of a module, zeros where it has none."""
    weight = ours[f"{module}.weight"]
    return ours.get(f"{module}.bias", torch.zeros(weight.shape[0]))
