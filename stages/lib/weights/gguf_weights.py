"""A local Hugging Face directory for every source, GGUF files converted once.

Reading a GGUF file into transformers takes seconds, a saved directory 0.2 s. So the
de-quantized weights are kept as safetensors under `.cache/models/<sha256 of the file>...`, which also names the version
of transformers and the code that converts.
"""

import importlib.metadata
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.place import cache_dir
from stages.lib.core.progress import doing
from stages.lib.weights.models import ModelEntry, locate, weights_sha256


def huggingface_directory(entry: ModelEntry) -> Path:
    """The directory with config, tokenizer and safetensors of an entry's weights.

    Raises:
        ValueError: the weights are absent, not the pinned ones, or neither a directory nor a GGUF file.
    """
    place = locate(entry)
    if place.is_dir():
        return place
    if place.suffix != ".gguf":
        raise ValueError(f"{place}: expected a directory of safetensors or a .gguf file")
    digest = entry.sha256.get(place.name) or weights_sha256(place)
    target = cache_dir() / "models" / f"{digest[:16]}-{conversion()}"
    if not target.is_dir():
        convert_gguf(place, target)
    return target


def conversion() -> str:
    """Names how a file is converted: transformers, whose reader decides what comes out, and our code."""
    return f"transformers-{importlib.metadata.version('transformers')}-{code_identity(convert_gguf)[:8]}"


@doing("converting the GGUF file")
def convert_gguf(file: Path, target: Path) -> None:
    """De-quantizes a GGUF file to a float32 safetensors directory; it appears whole or not at all.

    Raises:
        ValueError: transformers cannot read the file.
    """
    import torch
    from tokenizers import decoders, pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        with parsed_once():
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            model = AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),  # otherwise it can be neither saved nor trained
            )
        if isinstance(tokenizer.backend_tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel):
            # The reader adds SentencePiece's steps, after which llguidance takes tokens for other bytes than they are.
            tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
        # The reader takes the end-of-text token from elsewhere (SmolLM2: <|im_start|>) and forgets the padding.
        tokenizer.eos_token = tokenizer.pad_token = tokenizer.convert_ids_to_tokens(model.config.eos_token_id)
        tokenizer.save_pretrained(temporary)
        model.save_pretrained(temporary, safe_serialization=True)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():  # or another process was faster
                raise
    except (ValueError, KeyError, struct.error) as error:
        raise ValueError(f"{file}: not a GGUF file that transformers can read: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def parsed_once() -> Iterator[None]:
    """Meanwhile the gguf package parses a file once and makes a family's table of names once.

    transformers parses a file four times, its vocabulary byte by byte from memory maps, which are slow to index, and
    makes the table anew for each module of the model: of 20 CPU-seconds for SmolLM2-135M all but 5.
    """
    import gguf
    import numpy as np

    parse, table = gguf.GGUFReader, gguf.get_tensor_name_map
    parsed: dict[str, Any] = {}

    def read(path: str | os.PathLike[str]) -> Any:
        if (name := str(path)) not in parsed:
            parsed[name] = parse(path)
            for field in parsed[name].fields.values():
                field.parts[:] = map(np.asarray, field.parts)
        return parsed[name]

    # transformers imports both where it calls them.
    gguf.GGUFReader, gguf.get_tensor_name_map = read, cache(table)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = parse, table
