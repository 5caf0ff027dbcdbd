"""The tensors of a GGUF file back in transformers' places, de-quantized by libgguf.

`python -m bench.gguf` and the tests hold its numbers against those of the `gguf` package, which are the same.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gguf import GGMLQuantizationType as Type
from torch import Tensor

from stages.lib.core.progress import doing
from stages.lib.gguf.layouts import ROPE_FACTORS, Layout
from stages.lib.weights.gguf_header import TensorPlace, read_gguf_header


def read_tensors(file: Path, layout: Layout) -> Iterator[tuple[str, Tensor]]:
    """(name in transformers, float32 tensor) of every tensor of the layout.

    Raises:
        ValueError: the file is truncated, or its tensors are not the layout's.
    """
    found = {name: place for name, place in read_gguf_header(file).tensors.items() if name != ROPE_FACTORS}
    wanted = {placed.name for placed in layout.tensors}
    if found.keys() != wanted:
        raise ValueError(f"{file}: other tensors than the model has: {sorted(found.keys() ^ wanted)[:5]}")
    data = np.memmap(file, mode="r")
    for placed in layout.tensors:
        place = found[placed.name]
        if place.shape != placed.shape:
            raise ValueError(f"{file}: {placed.name} has shape {place.shape}, the model's is {placed.shape}")
        yield placed.source, placed.from_gguf(_dequantize(data[place.offset : place.offset + place.bytes], place))


def _dequantize(data: npt.NDArray[np.uint8], place: TensorPlace) -> Tensor:
    """float32, of the place's shape; float16 by torch, which is many times faster than numpy at it."""
    if place.type == Type.F32:
        return torch.from_numpy(np.array(data).view(np.float32)).view(place.shape)
    if place.type == Type.F16:
        return torch.from_numpy(np.array(data).view(np.float16)).float().view(place.shape)
    import libgguf

    rows = data.reshape(*place.shape[:-1], -1)  # (..., bytes per row)
    return torch.from_numpy(libgguf.dequantize_rows(rows, place.type, place.shape[-1]))


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
