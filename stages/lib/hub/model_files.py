"""Which files of a model's repository are needed: one set of safetensors, or one GGUF, and the small files.

Repositories hold the same weights many times: as pickles (which are never opened), for other engines, as the maker
first had them (`consolidated*.safetensors` of Mistral, `original/` of Llama and gpt-oss), as training left them.
"""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath

from stages.lib.hub.repository import HubFile

# Folders of other engines' weights, and of what is no part of a model.
OTHER_FOLDERS = (
    "onnx", "openvino", "tf", "tensorflow", "flax", "jax", "coreml", "original", "metal", "gguf", "ggml", "mlx",
    "tensorrt", "trt", "exllama", "runs", "logs", "wandb", "checkpoint-*", "global_step*", "assets", "images",
    "figures", "examples", ".*",
)  # fmt: skip
# Small files that a model, its tokenizer and its template are read from; their licence comes along.
NEEDED = (
    "*.json",
    "*.jinja",
    "*.txt",
    "*.model",
    "*.spm",
    "*.tiktoken",
    "*.model.v*",
    "*.yaml",
    "LICENSE*",
    "README.md",
)
TOO_LARGE = 200_000_000  # bytes of a "small" file: the largest tokenizers have 40 MB
OWN_WEIGHTS = re.compile(r"(model|adapter_model)(-\d+-of-\d+)?\.safetensors")


def model_files(files: Sequence[HubFile], gguf: bool = False, named: Mapping[str, str] | None = None) -> list[HubFile]:
    """The files to fetch.

    Args:
        files: all of the repository.
        gguf: the model is run from a GGUF file.
        named: weights files with their sha256, as an entry pins them: of GGUF files those alone are taken.

    Raises:
        ValueError: no such weights, or several GGUF files and none is named.
    """
    small = tokenizer_files(files)
    if gguf:
        return [*small, *_gguf_files(files, named or {})]
    weights = [file for file in files if file.path.endswith(".safetensors") and not _is_other(file.path)]
    top = [file for file in weights if "/" not in file.path]
    own = [file for file in top if OWN_WEIGHTS.fullmatch(file.path)]
    makers = [file for file in top if not file.path.startswith("consolidated")]
    below = [file for file in weights if "/" in file.path]
    if not weights:
        held = sorted({PurePosixPath(file.path).suffix for file in files if file.size > TOO_LARGE // 10} - {""})
        raise ValueError(
            f"holds no *.safetensors{f' (but large files of {held})' if held else ''}: pickles are never opened; take "
            "a revision or a repository that has them (backend llama_cpp takes GGUF)"
        )
    return [*small, *(own or makers or top), *below]


def tokenizer_files(files: Sequence[HubFile]) -> list[HubFile]:
    """All but weights: configuration, tokenizer, template, licence."""
    return [
        file
        for file in files
        if not _is_other(file.path)
        and file.size <= TOO_LARGE
        and any(fnmatch(PurePosixPath(file.path).name, pattern) for pattern in NEEDED)
        and not file.path.startswith("consolidated")
    ]


def _gguf_files(files: Sequence[HubFile], named: Mapping[str, str]) -> list[HubFile]:
    there = [file for file in files if file.path.endswith(".gguf")]
    wanted = [file for file in there if file.path in named]
    if missing := sorted(set(named) - {file.path for file in files}):
        raise ValueError(f"sha256: has no file {missing}; its GGUF files are {sorted(file.path for file in there)}")
    if wanted:
        return wanted
    if len(there) != 1:
        listed = "; ".join(f"{file.path}: {file.sha256}" for file in there)
        raise ValueError(
            f"sha256: holds {len(there)} GGUF files; name the one to take with its hash: {listed or 'none'}"
        )
    return there


def _is_other(path: str) -> bool:
    folders = PurePosixPath(path).parts[:-1]
    return any(fnmatch(folder.lower(), pattern) for folder in folders for pattern in OTHER_FOLDERS)
