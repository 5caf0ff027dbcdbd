"""A Hugging Face directory as a GGUF file without loading the model: one tensor in memory at a time."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from stages.lib.core.records import read_json_object
from stages.lib.gguf.layouts import make_layout
from stages.lib.gguf.quantization import FileType
from stages.lib.gguf.vocabulary import read_vocabulary
from stages.lib.gguf.writing import Written, write_gguf
from stages.lib.weights.base import load_tokenizer

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def convert_directory(directory: Path, file: Path, file_type: FileType) -> Written:
    """Writes the model of a directory (config, safetensors, tokenizer), whole or not at all.

    Raises:
        ValueError: there are no safetensors, one of them is damaged, or llama.cpp lacks the family.
        OSError: no room on the disk.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{directory}: config.json cannot be read: {error}") from error
    try:
        files: list[Any] = [safe_open(directory / name, framework="pt") for name in weights_files(directory)]
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{directory}: its safetensors are damaged: {error}") from error
    place = {name: opened for opened in files for name in opened.keys()}  # noqa: SIM118
    shapes = {name: tuple(opened.get_slice(name).get_shape()) for name, opened in place.items()}

    def tensor(name: str) -> Tensor:
        found: Tensor = place[name].get_tensor(name)
        return found

    layout = make_layout(config, shapes)
    return write_gguf(
        file,
        layout=layout,
        vocabulary=read_vocabulary(load_tokenizer(directory), layout.vocabulary),
        tensor=tensor,
        file_type=file_type,
        name=directory.name,
    )


def weights_files(directory: Path) -> list[str]:
    """Names of the safetensors.

    Raises:
        ValueError: there are none.
    """
    if (directory / SINGLE).is_file():
        return [SINGLE]
    if (directory / INDEX).is_file():
        index = read_json_object(directory / INDEX)
        return sorted(set(index["weight_map"].values()))
    raise ValueError(f"{directory}: no {SINGLE} and no {INDEX}")
