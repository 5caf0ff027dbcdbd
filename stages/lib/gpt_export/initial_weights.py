"""Weights that a training starts from instead of random ones: `pretrain.init_from`.

A directory with one of our checkpoints or a Hugging Face model (GPT-2, or a Llama that `to_hf` wrote), or
`hub:ORG/NAME@REVISION`. A path that begins with `.cache/` is one of the project's cache, also in a queued experiment.
"""

from dataclasses import asdict
from pathlib import Path

import torch

from stages.lib.cache.place import cache_dir
from stages.lib.core.hashes import file_sha256
from stages.lib.core.records import read_json_object
from stages.lib.core.tracked import check_tracked
from stages.lib.gpt.checkpoints import CONFIG, WEIGHTS, load_model, read_config
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.gpt_export.huggingface import from_hf
from stages.lib.tokens.tokenizers import Tokenizer

OWN_OUTPUT = Path("models/gpt")
MAY_DIFFER = {"dropout", "vocab_size"}  # no weights, and rows that are filled up


def initial_weights_identity(place: str) -> str:
    """Names the weights: a commit of the hub, or the hash of the directory's files; "" for none.

    Raises:
        ValueError: nothing is there, or the place is emptied before the stage runs.
    """
    if not place:
        return ""
    name, revision = parse(place)
    if revision:
        return f"{name}@{revision}"
    directory = Path(name)
    if not directory.is_relative_to(cache_dir()):  # where a directory's name tells what is in it
        check_tracked([directory], f"init_from: {place}")
    return " ".join(file_sha256(directory / file) for file in (CONFIG, WEIGHTS))


def parse(place: str) -> tuple[str, str]:
    """A directory and "", or a name on the hub and its commit.

    Raises:
        ValueError: neither, or the stage's own output.
    """
    if place.startswith("hub:"):
        name, _, revision = place.removeprefix("hub:").partition("@")
        if not name or not revision:
            raise ValueError(f"init_from: {place!r}: write hub:ORG/NAME@REVISION, with the commit as REVISION")
        return name, revision
    directory = Path(place)
    if directory.parts[:1] == (".cache",):
        directory = cache_dir().joinpath(*directory.parts[1:])
    if OWN_OUTPUT.resolve() in (directory.resolve(), *directory.resolve().parents):
        raise ValueError(
            f"init_from: {place} is this stage's own output, which DVC removes before it runs: copy it to another "
            "place, such as models/start, or name a step_... directory under .cache/pretrain"
        )
    if not directory.is_dir():
        raise ValueError(f"init_from: {place}: no such directory; name a checkpoint, a Hugging Face directory, or hub:")
    return str(directory), ""


def initial_model(place: str, model: GPT, tokenizer: Tokenizer) -> None:
    """Puts the weights of `place` into a model of the params' shape; rows for tokens beyond them stay as they are.

    Raises:
        ValueError: nothing is there, it is another tokenizer's, or of another shape; names what to set.
    """
    name, revision = parse(place)
    if not revision and set(read_json_object(Path(name) / CONFIG)) == {"model", "tokenizer"}:
        _, facts = read_config(Path(name))
        if facts.identity != tokenizer.identity:
            raise ValueError(
                f"init_from: {place} was trained with tokenizer {facts.name!r}, the shards with {tokenizer.name!r}"
            )
        start, _ = load_model(Path(name))
    else:
        start = from_hf(name, revision)
    _check(place, start.config, model.config, tokenizer)
    weights = start.state_dict()
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            tensor[: len(weights[key])] = weights[key]


def _check(place: str, theirs: GPTConfig, ours: GPTConfig, tokenizer: Tokenizer) -> None:
    """Compares shapes. Positions that are computed go beyond the context that was trained on, learned ones do not."""
    free = MAY_DIFFER | ({"context"} if ours.position == theirs.position == "rope" else set())
    found, wanted = asdict(theirs), asdict(ours)
    wrong = [f"{key}: {found[key]}" for key in wanted if key not in free and found[key] != wanted[key]]
    if wrong:
        raise ValueError(f"init_from: {place} has another shape; set in section pretrain: {', '.join(wrong)}")
    if not tokenizer.eot < theirs.vocab_size <= ours.vocab_size:
        raise ValueError(
            f"init_from: {place} has {theirs.vocab_size} rows for tokens; they must hold the end of text of "
            f"{tokenizer.name!r}, {tokenizer.eot}, and be at most {ours.vocab_size} (vocab_multiple)"
        )
