"""Which type each tensor of a GGUF file gets, and its bytes, without compiling anything.

The mix is llama.cpp's own (`llama_tensor_get_type` in src/llama-quant.cpp): Q4_K_M and Q5_K_M give more bits to
attention values and to ffn_down in the first and last eighth of the blocks and in every third between, and 6 bits to
the output. K-quants pack rows in blocks of 256: a row of another length falls back to a type with blocks of 32, or
to F16, as there.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import gguf
import numpy as np
import numpy.typing as npt
import torch
from gguf import GGMLQuantizationType as Type

FileType = Literal["Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16"]
DEFAULTS: dict[FileType, Type] = {
    "Q4_K_M": Type.Q4_K,
    "Q5_K_M": Type.Q5_K,
    "Q6_K": Type.Q6_K,
    "Q8_0": Type.Q8_0,
    "F16": Type.F16,
}
FALLBACKS = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}
ROWS_AT_ONCE = 2048  # of one thread's piece of a tensor


@dataclass(frozen=True)
class Chosen:
    """A tensor's type, and the one that its row length kept it from (None: it has what the mix says)."""

    type: Type
    instead_of: Type | None = None


def choose_types(
    shapes: dict[str, tuple[int, ...]], file_type: FileType, architecture: str, blocks: int
) -> dict[str, Chosen]:
    """The type of each tensor of a file, by its GGUF name; `shapes` have rows first."""
    has_output = "output.weight" in shapes
    return {
        name: _choose(shape, _mix(name, file_type, architecture, blocks, has_output)) for name, shape in shapes.items()
    }


def _choose(shape: tuple[int, ...], wanted: Type) -> Chosen:
    row = shape[-1]
    if len(shape) < 2:
        return Chosen(Type.F32)  # vectors are a thousandth of the weights
    if row % _block(wanted) == 0:
        return Chosen(wanted)
    fallback = FALLBACKS.get(wanted, Type.F16)
    if row % _block(fallback):
        fallback = Type.F16
    return Chosen(fallback, wanted)


def _mix(name: str, file_type: FileType, architecture: str, blocks: int, has_output: bool) -> Type:
    default = DEFAULTS[file_type]
    if not name.endswith(".weight") or "_norm." in name or name == "position_embd.weight":
        return Type.F32
    match file_type:
        case "F16" | "Q8_0" | "Q6_K":
            return default
        case "Q4_K_M":
            fused = Type.Q5_K  # queries, keys and values in one matrix
        case "Q5_K_M":
            fused = Type.Q6_K
        case _:
            assert_never(file_type)
    if name == "output.weight" or (name == "token_embd.weight" and not has_output):
        return Type.Q6_K
    found = re.match(r"blk\.(\d+)\.", name)
    block = int(found[1]) if found else 0
    if "attn_v.weight" in name:
        if use_more_bits(block, blocks):
            return Type.Q6_K
        # The 70B models share a value head among 8: more bits cost little there.
        return Type.Q5_K if blocks == 80 and architecture in ("llama", "qwen2") else default
    if "ffn_down" in name and use_more_bits(block, blocks):
        return Type.Q6_K
    if "attn_qkv.weight" in name:
        return fused
    return default


def use_more_bits(block: int, blocks: int) -> bool:
    """The first and the last eighth of the blocks, and every third one between."""
    return block < blocks // 8 or block >= 7 * blocks // 8 or (block - blocks // 8) % 3 == 2


def quantize(rows: npt.NDArray[np.float32], chosen: Type) -> npt.NDArray[Any]:
    """(..., n) weights -> bytes of the type (..., bytes per row), or an array of float16 / float32."""
    if chosen == Type.F32:
        return np.ascontiguousarray(rows, dtype=np.float32)
    if chosen == Type.F16:
        # torch rounds as numpy does, many times faster.
        return torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32)).half().numpy()
    import libgguf  # type: ignore[import-untyped,unused-ignore]

    if rows.ndim < 2 or len(rows) <= ROWS_AT_ONCE:
        return np.asarray(libgguf.quantize_rows(rows, int(chosen)))
    pieces = [rows[i : i + ROWS_AT_ONCE] for i in range(0, len(rows), ROWS_AT_ONCE)]
    with ThreadPoolExecutor(threads()) as pool:
        return np.concatenate(list(pool.map(lambda piece: libgguf.quantize_rows(piece, int(chosen)), pieces)))


def threads() -> int:
    """OMP_NUM_THREADS, or all cores."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def stored_bytes(shape: tuple[int, ...], chosen: Type) -> int:
    """Size of a tensor in the file, without padding."""
    block, size = gguf.GGML_QUANT_SIZES[chosen]
    return int(np.prod(shape)) // int(block) * int(size)


def describe(shapes: dict[str, tuple[int, ...]], types: dict[str, Chosen]) -> dict[str, Any]:
    """Counts of tensors by type, bits per weight, and the fall-backs, those of all blocks in one line."""
    counts = Counter(chosen.type.name for chosen in types.values())
    weights = sum(int(np.prod(shape)) for shape in shapes.values())
    bits = 8 * sum(stored_bytes(shape, types[name].type) for name, shape in shapes.items())
    return {
        "tensors": dict(sorted(counts.items())),
        "bits_per_weight": bits / weights,
        "fallbacks": _fallbacks((name, shapes[name][-1], chosen) for name, chosen in types.items()),
    }


def _fallbacks(items: Iterable[tuple[str, int, Chosen]]) -> list[dict[str, Any]]:
    found: Counter[tuple[str, int, str, str]] = Counter()
    for name, row, chosen in items:
        if chosen.instead_of is not None:
            found[re.sub(r"\d+", "*", name), row, chosen.instead_of.name, chosen.type.name] += 1
    return [
        {"name": name, "row": row, "from": wanted, "to": given, "tensors": count}
        for (name, row, wanted, given), count in sorted(found.items())
    ]


def _block(kind: Type) -> int:
    return int(gguf.GGML_QUANT_SIZES[kind][0])
