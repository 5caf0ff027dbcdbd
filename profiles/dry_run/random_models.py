"""Models of real configurations (configurations.json) with random weights, cut to two layers, as the hub's cache has
them: under their own names and pinned revisions, so that a profile's entries are read as they stand.

Nothing but the number of layers is cut: hidden sizes, heads, experts, vocabulary, rope and ties are the real ones. An
entry of backend llama_cpp gets a GGUF file of its pinned name, whose hash is another: `random_digests` tells it.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from profiles.dry_run.tokenizer_files import write_tokenizer
from stages.lib.core.hashes import file_sha256
from stages.lib.core.records import read_json_object
from stages.lib.gguf.quantization import FileType
from stages.lib.weights.models import ModelEntry

CONFIGURATIONS = Path(__file__).parent / "configurations.json"
LAYERS = 2
SEED = 0
BLOCK = 1 << 22  # random numbers drawn; a matrix repeats them from a place of its own
STANDARD_DEVIATION = 0.02


def configurations() -> dict[str, dict[str, Any]]:
    """Tokenizer kind, config and generation_config by the hub's name."""
    return read_json_object(CONFIGURATIONS)


def cut(config: dict[str, Any], layers: int) -> dict[str, Any]:
    """The configuration with its first layers alone."""
    return config | {"num_hidden_layers": layers}


def hub_directory(cache: Path, entry: ModelEntry) -> Path:
    """Where the hub's cache keeps an entry's files."""
    name = entry.source.partition(":")[2]
    return cache / f"models--{name.replace('/', '--')}" / "snapshots" / entry.revision


def make_models(entries: Iterable[ModelEntry], cache: Path, packages: Path) -> list[str]:
    """Makes each hub model that is not there yet; returns a line for each.

    Raises:
        ValueError: a model's configuration is not in configurations.json.
    """
    known, lines = configurations(), []
    for entry in entries:
        name = entry.source.partition(":")[2]
        if name not in known:
            raise ValueError(f"{CONFIGURATIONS.name} has no {name}: write its config.json there")
        directory = hub_directory(cache, entry)
        if not (directory / "config.json").is_file():
            directory.mkdir(parents=True, exist_ok=True)
            write_tokenizer(known[name]["tokenizer"], packages, directory)
            _write_weights(known[name], directory, embeds=entry.backend == "sentence_transformers")
            if entry.backend == "llama_cpp":
                _as_gguf(directory, entry)
        _list_files(directory)
        weights = "*.gguf" if entry.backend == "llama_cpp" else "*.safetensors"
        size = sum(file.stat().st_size for file in directory.glob(weights))
        layers = known[name]["config"]["num_hidden_layers"]
        lines.append(f"{name}: {LAYERS} of {layers} layers, {size / 1e9:.2f} GB, {entry.dtype}")
    return lines


def random_digests(entry: ModelEntry, cache: Path) -> dict[str, str]:
    """The SHA-256 of an entry's random GGUF file, as the entry's `sha256` has to be; {} of other weights."""
    if entry.backend != "llama_cpp":
        return {}
    return {name: file_sha256(hub_directory(cache, entry) / name) for name in entry.sha256}


def _as_gguf(directory: Path, entry: ModelEntry) -> None:
    """The directory's model as the GGUF file that the entry names, by our own writer; the safetensors go.

    Raises:
        ValueError: the entry names no file, or none of a type that we write.
    """
    from stages.lib.gguf.directories import convert_directory

    for name in entry.sha256:
        named = [kind for kind in get_args(FileType) if kind.lower() in name.lower()]
        if not named:
            raise ValueError(f"{entry.key}: {name}: of none of the types {get_args(FileType)}")
        convert_directory(directory, directory / name, named[0])
    for file in directory.glob("*.safetensors"):
        file.unlink()


def _write_weights(known: dict[str, Any], directory: Path, *, embeds: bool) -> None:
    """Safetensors in bfloat16, config.json last: where it is, the directory is whole."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    config = cut(known["config"], LAYERS)
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    read = AutoConfig.from_pretrained(directory)
    (directory / "config.json").unlink()
    with torch.device("meta"):
        model = (AutoModel if embeds else AutoModelForCausalLM).from_config(read, dtype=torch.bfloat16)
    model.to_empty(device="cpu")
    model.tie_weights()
    block = torch.empty(BLOCK, dtype=torch.bfloat16)
    block.normal_(0, STANDARD_DEVIATION, generator=torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        for place, (name, weight) in enumerate(sorted(model.named_parameters())):
            fill(weight, 1.0 if name.endswith("norm.weight") else 0.0, block.roll(-7919 * place))
    model.save_pretrained(directory)
    if embeds:
        _write_modules(directory, config)
    elif "generation_config" in known:
        (directory / "generation_config.json").write_text(json.dumps(known["generation_config"]), encoding="utf-8")
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")


def fill(weight: Any, mean: float, block: Any) -> None:
    """Writes `mean` plus the block's numbers, repeated, into a weight of any shape, in place."""
    flat = weight.view(-1)
    for start in range(0, len(flat), len(block)):
        part = flat[start : start + len(block)]
        part.copy_(block[: len(part)]).add_(mean)


def _list_files(directory: Path) -> None:
    """Writes the list of files that huggingface_hub keeps of a commit: with it, nothing is asked of the hub."""
    from huggingface_hub._tree_cache import TreeCacheEntry, write_tree_cache

    files = [file for file in directory.rglob("*") if file.is_file()]
    entries = {
        file.relative_to(directory).as_posix(): TreeCacheEntry(size=file.stat().st_size, blob_id="") for file in files
    }
    write_tree_cache(str(directory.parent.parent), directory.name, entries)


def _write_modules(directory: Path, config: dict[str, Any]) -> None:
    """What makes the directory a model of sentence-transformers: its last token's vector, of length 1."""
    modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Normalize", "Normalize")]
    listed = [
        {"idx": int(number), "name": number, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, path, kind in modules
    ]
    (directory / "modules.json").write_text(json.dumps(listed), encoding="utf-8")
    (directory / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": config["hidden_size"], "pooling_mode_lasttoken": True}
    pooling |= {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False, "include_prompt": True}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    query = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
    prompts = {"prompts": {"query": query, "document": ""}, "default_prompt_name": None}
    (directory / "config_sentence_transformers.json").write_text(
        json.dumps(prompts | {"similarity_fn_name": "cosine"}), encoding="utf-8"
    )
