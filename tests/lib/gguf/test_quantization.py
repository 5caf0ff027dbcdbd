import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from stages.lib.gguf.quantization import Chosen, choose_types, describe, quantize, stored_bytes, use_more_bits

BLOCK = {
    "attn_q.weight": (512, 512),
    "attn_k.weight": (128, 512),
    "attn_v.weight": (128, 512),
    "attn_output.weight": (512, 512),
    "ffn_gate.weight": (1024, 512),
    "ffn_up.weight": (1024, 512),
    "ffn_down.weight": (512, 1024),
    "attn_norm.weight": (512,),
    "attn_q.bias": (512,),
}


def shapes(blocks: int, row: int = 512, output: bool = False) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (1000, row), "output_norm.weight": (row,)}
    if output:
        found["output.weight"] = (1000, row)
    for block in range(blocks):
        for name, shape in BLOCK.items():
            found[f"blk.{block}.{name}"] = tuple(row if size == 512 and len(shape) > 1 else size for size in shape)
    return found


def test_q4_k_m_gives_more_bits_where_llama_cpp_does() -> None:
    types = choose_types(shapes(32), "Q4_K_M", "llama", 32)
    six = [block for block in range(32) if types[f"blk.{block}.attn_v.weight"].type == Type.Q6_K]
    # As llama-quantize prints it for a 7B model.
    assert six == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]
    assert six == [block for block in range(32) if types[f"blk.{block}.ffn_down.weight"].type == Type.Q6_K]
    assert types["token_embd.weight"] == Chosen(Type.Q6_K)  # it is the output, too
    assert types["blk.0.attn_q.weight"] == Chosen(Type.Q4_K)
    assert types["blk.0.attn_norm.weight"].type == types["blk.0.attn_q.bias"].type == Type.F32
    untied = choose_types(shapes(32, output=True), "Q4_K_M", "llama", 32)
    assert (untied["token_embd.weight"].type, untied["output.weight"].type) == (Type.Q4_K, Type.Q6_K)


def test_other_mixes() -> None:
    assert choose_types(shapes(80), "Q4_K_M", "llama", 80)["blk.12.attn_v.weight"].type == Type.Q6_K
    assert choose_types(shapes(80), "Q4_K_M", "llama", 80)["blk.11.attn_v.weight"].type == Type.Q5_K
    gpt2: dict[str, tuple[int, ...]] = {
        "blk.0.attn_qkv.weight": (768, 256),
        "position_embd.weight": (64, 256),
        "token_embd.weight": (300, 256),
    }
    assert choose_types(gpt2, "Q4_K_M", "gpt2", 12)["blk.0.attn_qkv.weight"].type == Type.Q5_K
    assert choose_types(gpt2, "Q5_K_M", "gpt2", 12)["blk.0.attn_qkv.weight"].type == Type.Q6_K
    assert choose_types(gpt2, "F16", "gpt2", 12)["position_embd.weight"].type == Type.F32
    assert {chosen.type for chosen in choose_types(shapes(2), "Q8_0", "llama", 2).values()} == {Type.Q8_0, Type.F32}


def test_rows_that_are_no_multiple_of_256_fall_back_and_are_listed() -> None:
    types = choose_types(shapes(16, row=576), "Q4_K_M", "llama", 16)
    assert types["blk.0.attn_q.weight"] == Chosen(Type.Q5_0, Type.Q4_K)
    assert types["blk.0.attn_v.weight"] == Chosen(Type.Q8_0, Type.Q6_K)
    assert types["blk.0.ffn_down.weight"] == Chosen(Type.Q6_K)  # 1024 a row
    assert types["token_embd.weight"] == Chosen(Type.Q8_0, Type.Q6_K)
    found = describe(shapes(16, row=576), types)
    assert {"name": "blk.*.attn_q.weight", "row": 576, "from": "Q4_K", "to": "Q5_0", "tensors": 16} in found[
        "fallbacks"
    ]
    assert sum(found["tensors"].values()) == len(types)
    assert choose_types({"blk.0.attn_q.weight": (8, 40)}, "Q8_0", "llama", 1)["blk.0.attn_q.weight"] == Chosen(
        Type.F16, Type.Q8_0
    )
    assert choose_types(shapes(2, row=576), "Q5_K_M", "llama", 2)["blk.0.attn_q.weight"].type == Type.Q5_1


def test_more_bits_in_few_blocks() -> None:
    assert [use_more_bits(block, 2) for block in range(2)] == [False, True]


@pytest.mark.parametrize(
    ("chosen", "error"), [(Type.Q4_K, 0.12), (Type.Q5_K, 0.06), (Type.Q6_K, 0.03), (Type.Q8_0, 0.01), (Type.Q5_0, 0.09)]
)
def test_the_gguf_package_reads_the_bytes_to_about_the_same_weights(chosen: Type, error: float) -> None:
    rows = np.random.default_rng(0).normal(size=(4100, 256)).astype(np.float32)  # more than one piece
    data = quantize(rows, chosen)
    assert data.nbytes == stored_bytes(rows.shape, chosen)
    back = gguf.quants.dequantize(data, chosen)
    assert np.sqrt(((back - rows) ** 2).mean()) < error


def test_float16_is_rounded_to_the_nearest_and_ties_to_even() -> None:
    rows = np.array([[1 + 0.75 / 1024, 1 + 1.5 / 1024, 1 + 0.5 / 1024, -(1 + 0.75 / 1024)]], dtype=np.float32)
    found = quantize(rows, Type.F16)
    assert found.dtype == np.float16
    assert found.tolist() == [[1 + 1 / 1024, 1 + 2 / 1024, 1.0, -(1 + 1 / 1024)]]
