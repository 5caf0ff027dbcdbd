"""Checkpoints: a directory of safetensors and JSON that appears complete or not at all; no pickle anywhere.

    config.json            the model's shape, which tokenizer its ids are of, the template that it answers in, if any
    model.safetensors      weights
    state.json             step, position in the data, random numbers, training parameters, data fingerprint
    optimizer.safetensors  the optimizer's moments, named PARAMETER/KEY

A `CheckpointStore` holds the checkpoints of one training under `step_<n>/` and says in `pointers.json` which is
`last` and which is `best`; whatever it points at is complete.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.lib.core.params import from_mapping
from stages.lib.core.records import appearing_directory, read_json_object, saving, write_json
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.tokens.instruction_template import TEMPLATE

CONFIG, WEIGHTS, STATE, OPTIMIZER = "config.json", "model.safetensors", "state.json", "optimizer.safetensors"


@dataclass(frozen=True, kw_only=True)
class TokenizerFacts:
    """Which tokenizer a model's ids are of."""

    name: str  # as in `load_tokenizer`
    identity: str  # its hash
    vocab_size: int  # ids it can produce
    eot: int


def write_model(
    directory: Path, weights: Mapping[str, Tensor], config: GPTConfig, tokenizer: TokenizerFacts, template: str = ""
) -> None:
    """Writes config.json and model.safetensors into an existing directory.

    `template`: of instructions, that the model was finetuned on (tokens/instruction_template.py); empty: it was not.
    """
    content = {"model": asdict(config), "tokenizer": asdict(tokenizer)}
    write_json(directory / CONFIG, content | ({"template": template} if template else {}))
    _save(dict(weights), directory / WEIGHTS)


def read_config(directory: Path) -> tuple[GPTConfig, TokenizerFacts]:
    """The shape of a checkpoint's model, and its tokenizer.

    Raises:
        ValueError: no checkpoint there, or a config.json that is not one of ours.
    """
    content = _read_facts(directory)
    return (
        from_mapping(GPTConfig, content["model"], f"{directory / CONFIG}: model"),
        from_mapping(TokenizerFacts, content["tokenizer"], f"{directory / CONFIG}: tokenizer"),
    )


def read_template(directory: Path) -> str:
    """The template of instructions that a checkpoint was finetuned on; empty: none.

    Raises:
        ValueError: no checkpoint there, a config.json that is not one of ours, or a template that is not known here.
    """
    template = _read_facts(directory).get("template", "")
    if template not in ("", TEMPLATE):
        raise ValueError(f"{directory / CONFIG}: template {template!r} is not known; known is {TEMPLATE!r}")
    return str(template)


def _read_facts(directory: Path) -> dict[str, Any]:
    content = read_json_object(directory / CONFIG)
    if set(content) - {"template"} != {"model", "tokenizer"}:
        raise ValueError(f"{directory / CONFIG}: expected the keys model and tokenizer, found {sorted(content)}")
    return content


def load_model(directory: Path, device: str | torch.device = "cpu") -> tuple[GPT, str]:
    """The model of a checkpoint in eval mode, and the name of its tokenizer.

    Raises:
        ValueError: no checkpoint there, a damaged file, or weights of another shape than config.json says.
    """
    config, tokenizer = read_config(directory)
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in GPT(config).state_dict().items()}
    weights = read_tensors(directory / WEIGHTS)
    check_shapes(weights, shapes, directory / WEIGHTS)
    model = GPT(config)
    model.load_state_dict(weights)
    return model.to(device).eval(), tokenizer.name


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        ValueError: it is absent or damaged.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; a checkpoint has {CONFIG} and {WEIGHTS}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged: {error}") from error


def check_shapes(found: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Raises `ValueError` naming the first tensor that is missing, unknown or of another shape."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise ValueError(f"{path}: no tensor {name}; it is a checkpoint of another model")
        if name not in expected:
            raise ValueError(f"{path}: unknown tensor {name}; it is a checkpoint of another model")
        if tuple(found[name].shape) != expected[name]:
            raise ValueError(f"{path}: {name} has shape {tuple(found[name].shape)}, the model's is {expected[name]}")


class CheckpointStore:
    """The checkpoints of one training: saved whole, pruned to the last and the best."""

    def __init__(self, directory: Path, template: str = "") -> None:
        """Opens it, or begins one; `template`: see `write_model`."""
        self.directory, self.template = directory, template
        pointers = directory / "pointers.json"
        self.pointers: dict[str, int] = read_json_object(pointers) if pointers.exists() else {}

    def path(self, which: str) -> Path | None:
        """Where the `last` or `best` checkpoint lies; None: there is none yet."""
        return self.directory / f"step_{self.pointers[which]:08d}" if which in self.pointers else None

    def save(
        self,
        step: int,
        *,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: Mapping[str, Any],
        model: tuple[GPTConfig, TokenizerFacts],
        best: bool,
    ) -> None:
        """Writes the checkpoint of a step, points `last` (and `best`) at it, removes what nothing points at.

        Raises:
            ValueError: the disk is full or not writable; names the last checkpoint that is whole.
        """
        again = f"run again: it goes on from the last whole checkpoint, {self.path('last') or 'none'}"
        with saving(self.directory, f"the checkpoint of step {step}", again):
            with appearing_directory(self.directory / f"step_{step:08d}") as temporary:
                write_model(temporary, weights, *model, self.template)
                _save(dict(optimizer), temporary / OPTIMIZER)
                write_json(temporary / STATE, state)
            pointers = self.pointers | {"last": step} | ({"best": step} if best else {})
            write_json(self.directory / "pointers.json", pointers)
        self.pointers = pointers
        kept = {self.path("last"), self.path("best")}
        for old in self.directory.glob("step_*"):
            if old not in kept:
                shutil.rmtree(old)

    def publish(self, which: str, target: Path) -> None:
        """Copies a checkpoint to where a stage declares it, whole or not at all; moments go with the last one alone."""
        source = self.path(which)
        assert source is not None
        with appearing_directory(target) as temporary:
            for file in sorted(source.iterdir()):
                if which == "last" or file.name != OPTIMIZER:
                    shutil.copyfile(file, temporary / file.name)

    def prune_finished(self) -> None:
        """Leaves of a finished training what `publish` needs: the best checkpoint's moments, 2/3 of it, go."""
        best = self.path("best")
        if best is not None and best != self.path("last"):
            (best / OPTIMIZER).unlink(missing_ok=True)


def read_state(directory: Path) -> dict[str, Any]:
    """state.json of a checkpoint. Raises `ValueError` when it is absent or broken."""
    return read_json_object(directory / STATE)


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:  # how safetensors tells of a full disk
        raise OSError(f"{path}: {error}") from error
