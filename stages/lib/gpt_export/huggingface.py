"""Weights from and to Hugging Face directories: config.json, model.safetensors, and the tokenizer's files."""

from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from stages.lib.core.records import appearing_directory
from stages.lib.gpt.checkpoints import CONFIG, WEIGHTS, check_shapes, load_model, read_template, read_tensors
from stages.lib.gpt.model import GPT
from stages.lib.gpt_export.huggingface_layouts import from_gpt2, from_llama, to_gpt2, to_llama
from stages.lib.gpt_export.huggingface_tokenizers import save_tokenizer
from stages.lib.hub.errors import HubError
from stages.lib.hub.repository import Repository
from stages.lib.tokens.tokenizers import Tokenizer, load_tokenizer

Dtype = Literal["float32", "bfloat16", "float16"]


def from_hf(directory_or_name: str | Path, revision: str = "", key: str = "init_from") -> GPT:
    """Reads a GPT-2 model, or a Llama that `to_hf` wrote, in eval mode and float32; no pickle is opened.

    Args:
        directory_or_name: a local directory, or ORG/NAME of the hub.
        revision: its commit there.
        key: who asks for it, which messages name.

    Raises:
        ValueError: nothing is there, it is another architecture, or one with parts that our model lacks.
    """
    from transformers import AutoConfig

    place = _locate(str(directory_or_name), revision, key)
    try:
        theirs = AutoConfig.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{place / CONFIG}: cannot be read: {error}") from error
    tensors = read_tensors(place / WEIGHTS)
    try:
        if theirs.model_type == "gpt2":
            config, weights = from_gpt2(theirs, tensors)
        elif theirs.model_type == "llama":
            config, weights = from_llama(theirs, tensors)
        else:
            raise ValueError(f"model_type is {theirs.model_type!r}; gpt2 and llama can be read")
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    except KeyError as error:
        raise ValueError(f"{place / WEIGHTS}: no tensor {error.args[0]}") from error
    model = GPT(config)
    check_shapes(weights, {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}, place / WEIGHTS)
    model.load_state_dict(weights)
    return model.eval()


def export_checkpoint(checkpoint: Path, directory: Path, dtype: Dtype = "float32") -> None:
    """A checkpoint of ours as `to_hf` writes it: a finetuned one with its chat template.

    Raises:
        ValueError: there is no checkpoint, it is damaged, or as `to_hf` does.
        OSError: as writing does (a full disk).
    """
    model, tokenizer = load_model(checkpoint)
    to_hf(model, load_tokenizer(tokenizer), directory, dtype, read_template(checkpoint))


def to_hf(model: GPT, tokenizer: Tokenizer, directory: Path, dtype: Dtype = "float32", template: str = "") -> None:
    """Writes a directory that transformers, vLLM and GGUF converters load; whole or not at all.

    `template`: of instructions, that the model was finetuned on (`read_template`); the directory then has a chat
    template, by which transformers gives the ids that were trained. Empty: it has none.

    llama.cpp has but the tanh form of GELU for GPT-2: with activation `gelu` its logits differ a little. Rows of
    the embedding without a token are never drawn by transformers (`suppress_tokens`); vLLM may draw them, as
    unlikely as training has left them.

    Raises:
        ValueError: neither layout can hold the model, or its embedding has no row for some token.
        OSError: as writing does (a full disk).
    """
    from transformers import GenerationConfig

    config = model.config
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"tokenizer {tokenizer.name!r} has {tokenizer.vocab_size} ids, the embedding {config.vocab_size} rows"
        )
    ours = {name: tensor.detach().cpu().float() for name, tensor in model.state_dict().items()}
    if (config.position, config.norm) == ("learned", "layernorm"):
        theirs, weights = to_gpt2(config, ours)
    elif (config.position, config.norm) == ("rope", "rmsnorm"):
        theirs, weights = to_llama(config, ours)
    else:
        raise ValueError(
            f"no layout holds position {config.position!r} with norm {config.norm!r}; train with learned and "
            "layernorm (GPT-2) or rope and rmsnorm (Llama)"
        )
    # A text begins after the end of the one before: so eot is what begins it, too.
    specials = {"bos_token_id": tokenizer.eot, "eos_token_id": tokenizer.eot, "pad_token_id": tokenizer.pad}
    theirs.update(specials | {"dtype": dtype})
    never_drawn = list(range(tokenizer.vocab_size, config.vocab_size)) or None
    with appearing_directory(directory) as temporary:
        theirs.save_pretrained(temporary)
        GenerationConfig(**specials, suppress_tokens=never_drawn).save_pretrained(temporary)
        stored = {name: tensor.to(getattr(torch, dtype)).contiguous() for name, tensor in weights.items()}
        try:
            save_file(stored, temporary / WEIGHTS, metadata={"format": "pt"})
        except SafetensorError as error:  # how safetensors tells of a full disk
            raise OSError(f"{directory / WEIGHTS}: {error}") from error
        save_tokenizer(tokenizer, temporary, config.context, template)


def _locate(place: str, revision: str, key: str) -> Path:
    if Path(place).is_dir():
        return Path(place)
    if not revision:
        raise ValueError(f"{place}: no such directory; a model of the hub needs its `revision` (a commit hash)")
    repository = Repository(kind="model", name=place, revision=revision, key=key)
    wanted = [file for file in repository.files() if file.path in (CONFIG, WEIGHTS)]
    if len(wanted) < 2:
        raise HubError(f"{key}: {place} at {revision} lacks {CONFIG} or {WEIGHTS}")
    return repository.fetch(wanted)
