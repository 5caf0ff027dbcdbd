from typing import Any

import pytest
from transformers import GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

from stages.lib.gguf.layouts import llama3_factors, make_layout

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def layout(config: Any, **shapes: tuple[int, ...]) -> Any:
    return make_layout(config, shapes)


def test_an_unknown_family_is_refused() -> None:
    config = LlamaConfig()
    config.model_type = "mamba"
    with pytest.raises(ValueError, match=r"model_type 'mamba': no GGUF layout.*gpt2.*llama.*qwen3"):
        layout(config)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (LlamaConfig(hidden_act="gelu"), "hidden_act is 'gelu'"),
        (GPT2Config(activation_function="relu"), "activation_function is 'relu'"),
        (GPT2Config(scale_attn_by_inverse_layer_idx=True), "scale_attn_by_inverse_layer_idx is True"),
        (Qwen2Config(use_sliding_window=True), "use_sliding_window is True"),
        (
            LlamaConfig(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}),
            "rope_type 'dynamic' is not written",
        ),
    ],
)
def test_what_llama_cpp_lacks_is_refused(config: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layout(config)


def test_a_tensor_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tensor model\.extra\.weight .* no name in llama\.cpp"):
        make_layout(LlamaConfig(), {"model.extra.weight": (2, 2)})


def test_mistral_ends_at_its_sliding_window() -> None:
    assert layout(MistralConfig(max_position_embeddings=32768, sliding_window=4096)).context == 4096
    assert layout(MistralConfig(max_position_embeddings=32768, sliding_window=None)).context == 32768


def test_llama3_factors_are_those_of_transformers() -> None:
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {"rope_type": "llama3", "rope_theta": 500000.0, **LLAMA3}
    config = LlamaConfig(hidden_size=2048, num_attention_heads=32, rope_parameters=rope, max_position_embeddings=131072)
    scaled, attention = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1 / 500000.0 ** ((2 * __import__("torch").arange(32)) / 64)
    assert attention == 1.0
    assert llama3_factors(64, 500000.0, **LLAMA3) == pytest.approx((plain / scaled).tolist(), rel=1e-5)  # type: ignore[arg-type]
