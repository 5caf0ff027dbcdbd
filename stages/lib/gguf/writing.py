"""A model's tensors and tokenizer as one GGUF file, written tensor by tensor, whole or not at all."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from torch import Tensor

from stages.lib.core.progress import each
from stages.lib.core.records import atomic_path
from stages.lib.gguf.layouts import ROPE_FACTORS, Layout
from stages.lib.gguf.quantization import Chosen, FileType, choose_types, describe, quantize, stored_bytes, threads
from stages.lib.gguf.vocabulary import Vocabulary

HEADER_ROOM = 64 << 20  # bytes; vocabulary and padding, generously
INTEGER = gguf.GGUFValueType.UINT32
FLOAT = gguf.GGUFValueType.FLOAT32


@dataclass(frozen=True, kw_only=True)
class Written:
    """What became of a model."""

    file_type: FileType
    bytes: int
    types: dict[str, Chosen]  # by GGUF name
    description: dict[str, Any]  # tensors by type, bits_per_weight, fallbacks


def write_gguf(
    file: Path,
    *,
    layout: Layout,
    vocabulary: Vocabulary,
    tensor: Callable[[str], Tensor],
    file_type: FileType,
    name: str,
) -> Written:
    """Writes the file; `tensor(source)` gives transformers' tensors one at a time.

    Raises:
        ValueError: the tokens are not as many as the embedding's rows, or a weight is not finite.
        OSError: there is no room on the disk; nothing is left of the file.
    """
    shapes = {placed.name: placed.shape for placed in layout.tensors}
    if layout.rope_factors:
        shapes[ROPE_FACTORS] = (len(layout.rope_factors),)
    if len(vocabulary.tokens) != layout.vocabulary:
        raise ValueError(f"{len(vocabulary.tokens)} tokens for an embedding of {layout.vocabulary} rows")
    types = choose_types(shapes, file_type, layout.architecture, layout.blocks)
    sizes = {name: stored_bytes(shape, types[name].type) for name, shape in shapes.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    needed, free = sum(sizes.values()) + HEADER_ROOM, shutil.disk_usage(file.parent).free
    if needed > free:
        raise OSError(f"{file}: {needed / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free on that disk")
    with atomic_path(file) as temporary:
        writer = gguf.GGUFWriter(temporary, layout.architecture)
        try:
            _add_facts(writer, layout, file_type, name)
            _add_vocabulary(writer, vocabulary)
            for place, shape in shapes.items():
                writer.add_tensor_info(place, shape, np.dtype(np.float32), sizes[place], raw_dtype=types[place].type)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for data in each(_in_order(layout, tensor, types), "quantizing", "tensor", total=len(shapes)):
                writer.write_tensor_data(data)
        finally:
            if writer.fout is not None:
                writer.close()
        size = temporary.stat().st_size
    return Written(file_type=file_type, bytes=size, types=types, description=describe(shapes, types))


def _in_order(layout: Layout, tensor: Callable[[str], Tensor], types: dict[str, Chosen]) -> Iterator[npt.NDArray[Any]]:
    """The tensors' bytes in the order of the infos; a few are quantized ahead, in threads."""

    def convert(i: int) -> npt.NDArray[Any]:
        placed = layout.tensors[i]
        found = tensor(placed.source)
        rows = placed.to_gguf(found.detach().cpu().float()).numpy()
        if tuple(rows.shape) != placed.shape:
            raise ValueError(f"tensor {placed.source} has shape {tuple(found.shape)}; expected {placed.shape}")
        if not (np.isfinite(rows.max()) and np.isfinite(rows.min())):  # NaN goes through both
            raise ValueError(f"tensor {placed.source} holds NaN or infinity: training diverged?")
        data = quantize(rows, types[placed.name].type)
        if data.dtype == np.float16 and np.isinf(data).any():
            raise ValueError(f"tensor {placed.source} has weights beyond float16's 65504")
        return data

    with ThreadPoolExecutor(threads()) as pool:
        places = iter(range(len(layout.tensors)))
        waiting = [pool.submit(convert, i) for i in islice(places, 2 * threads())]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(convert, i) for i in islice(places, 1)]
    if layout.rope_factors:
        yield np.array(layout.rope_factors, dtype=np.float32)


def _add_facts(writer: Any, layout: Layout, file_type: FileType, name: str) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(int(gguf.LlamaFileType[f"MOSTLY_{file_type}"]))
    for key, value in layout.key_values.items():
        full = f"{layout.architecture}.{key}"
        if isinstance(value, str):
            writer.add_string(full, value)
        else:
            writer.add_key_value(full, value, FLOAT if isinstance(value, float) else INTEGER)


def _add_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.model == "llama":
        writer.add_token_scores(vocabulary.scores)
    else:
        writer.add_token_merges(vocabulary.merges)
    for kind, token in vocabulary.ids.items():
        writer.add_key_value(f"tokenizer.ggml.{kind}_token_id", token, INTEGER)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(vocabulary.add_eos)
    writer.add_add_space_prefix(vocabulary.add_space_prefix)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)
