"""A tiny random model of each family that can be written as GGUF, far enough from ties for greedy choices to agree."""

from typing import Any

import torch

COMMON = {"vocab_size": 259, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
LLAMA = COMMON | {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}


def tiny_family(name: str) -> Any:
    """A model in eval mode; biases and norms are random, too."""
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        MistralConfig,
        MistralForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen3Config,
        Qwen3ForCausalLM,
    )

    torch.manual_seed(0)
    if name == "gpt2":
        config = GPT2Config(vocab_size=259, n_positions=256, n_embd=64, n_layer=3, n_head=4, initializer_range=0.3)
        config.bos_token_id = config.eos_token_id = 2
        model: Any = GPT2LMHeadModel(config)
    else:
        model = {
            "llama": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)),
            "llama_tied_biased": lambda: LlamaForCausalLM(
                LlamaConfig(**LLAMA, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)
            ),
            "llama3_rope": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, rope_parameters=LLAMA3)),
            "yarn_rope": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, rope_parameters=YARN)),
            "linear_rope": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, rope_parameters=LINEAR)),
            "mistral": lambda: MistralForCausalLM(MistralConfig(**LLAMA, head_dim=32, sliding_window=192)),
            "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**LLAMA)),
            "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**LLAMA, head_dim=32)),
        }[name]()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


FAMILIES = (
    "llama",
    "llama_tied_biased",
    "llama3_rope",
    "yarn_rope",
    "linear_rope",
    "mistral",
    "qwen2",
    "qwen3",
    "gpt2",
)
