"""The tensors of a GGUF file back in transformers' places, by the `gguf` package's own de-quantization."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor

from stages.lib.core.progress import doing
from stages.lib.gguf.layouts import ROPE_FACTORS, Layout


def open_gguf(file: Path) -> Any:
    """The `gguf` package's reader of a file that is whole.

    Raises:
        ValueError: it is no GGUF file, or it ends before its last tensor.
    """
    if not file.is_file():
        raise ValueError(f"{file}: no such file")
    size = file.stat().st_size
    try:
        reader = gguf.GGUFReader(file)
        end = max((int(tensor.data_offset) + int(tensor.n_bytes) for tensor in reader.tensors), default=0)
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: truncated or not a GGUF file ({size} bytes): {error}") from error
    if end > size or not reader.tensors:
        raise ValueError(f"{file}: truncated: it has {size} bytes, its last tensor ends at {end}")
    return reader


def read_tensors(file: Path, layout: Layout) -> Iterator[tuple[str, Tensor]]:
    """(name in transformers, float32 tensor) of every tensor of the layout.

    Raises:
        ValueError: the file is truncated, or its tensors are not the layout's.
    """
    reader = open_gguf(file)
    found = {tensor.name: tensor for tensor in reader.tensors if tensor.name != ROPE_FACTORS}
    wanted = {placed.name for placed in layout.tensors}
    if found.keys() != wanted:
        raise ValueError(f"{file}: other tensors than the model has: {sorted(found.keys() ^ wanted)[:5]}")
    for placed in layout.tensors:
        tensor = found[placed.name]
        rows = _dequantize(tensor)
        if tuple(rows.shape) != placed.shape:
            raise ValueError(f"{file}: {placed.name} has shape {tuple(rows.shape)}, the model's is {placed.shape}")
        yield placed.source, placed.from_gguf(rows)


def _dequantize(tensor: Any) -> Tensor:
    """float32 (rows first); float16 by torch, which is many times faster than numpy at it."""
    if tensor.tensor_type == gguf.GGMLQuantizationType.F16:
        return torch.from_numpy(np.array(tensor.data)).float()
    rows = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return torch.from_numpy(rows if rows.flags.writeable else np.array(rows))  # float32 is the mapped file itself


@doing("reading the file back")
def load_tensors(model: Any, file: Path, layout: Layout) -> None:
    """Puts a file's weights, de-quantized, into a transformers model of the same shape.

    Raises:
        ValueError: as `read_tensors`.
    """
    places = model.state_dict()
    with torch.no_grad():
        for source, tensor in read_tensors(file, layout):
            places[source].copy_(tensor)
