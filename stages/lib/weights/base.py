"""A base model by its entry of `models:`, and an adapter on top of it, from safetensors alone."""

import gc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib.core.progress import doing
from stages.lib.core.records import read_json_object
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import ModelEntry, config_size, weights_identity

if TYPE_CHECKING:
    import torch

ADAPTER_CONFIG, ADAPTER_WEIGHTS, FACTS = "adapter_config.json", "adapter_model.safetensors", "llmill.json"


def base_identity(entry: ModelEntry) -> str:
    """Names the weights of an entry, however they are run: source with revision or hashes.

    Raises:
        ValueError: the weights are on a path, which does not exist.
    """
    entry = replace(entry, backend="transformers", dtype="float32")
    return weights_identity(entry).replace(" transformers float32", "", 1)


def read_tokenizer(directory: Path) -> Any:
    """The tokenizer of a directory; no code that comes with a model is run.

    tokenizer.json is read as it stands. AutoTokenizer of transformers 5 builds some classes' steps anew, and with them
    other tokens than the model has learned (a LlamaTokenizer's "  a" is one blank shorter than by Llama 2's
    tokenizer.json, DeepSeek's file loses its splitting).

    Raises:
        ValueError: there is no tokenizer.json and no tokenizer that transformers knows.
    """
    if (directory / "tokenizer.json").is_file():
        from transformers import PreTrainedTokenizerFast

        tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(directory)
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    else:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{directory}: no tokenizer.json, and its tokenizer cannot be read without running code that comes "
                f"with the model, which we never do: {error}"
            ) from error
    return tokenizer


def load_tokenizer(directory: Path) -> Any:
    """`read_tokenizer`, padding on the left; raises as it does."""
    tokenizer = read_tokenizer(directory)
    tokenizer.clean_up_tokenization_spaces = False  # it would take blanks before punctuation away
    tokenizer.padding_side = "left"  # for generation in batches; trainers pad on the right by themselves
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def end_tokens(tokenizer: Any, config: Any = None, *others: int | None) -> set[int]:
    """The tokens that end a reply: the tokenizer's, those of the config, and `others` that are not None.

    `config`: what has `eos_token_id` as None, a number or a list of them, such as a model's generation_config; None:
    there is none.
    """
    ends = getattr(config, "eos_token_id", None)
    ends = ends if isinstance(ends, list | tuple) else [ends]
    return {int(end) for end in (tokenizer.eos_token_id, *ends, *others) if end is not None}


@doing("loading the model")
def load_base(entry: ModelEntry, dtype: "str | torch.dtype" = "float32") -> tuple[Any, Any]:
    """Model, in eval mode and on the GPU if there is one, and tokenizer of an entry.

    Raises:
        ValueError: its weights are absent or not the pinned ones.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    directory = huggingface_directory(entry)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, use_safetensors=True, trust_remote_code=False)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), load_tokenizer(directory)


def load_adapter(
    base_name: str, entry: ModelEntry, directory: Path, dtype: "str | torch.dtype" = "float32"
) -> tuple[Any, Any]:
    """`models.<base_name>`, whose entry it is, with the adapter of `directory` on it, and the adapter's tokenizer.

    The model is a peft model in eval mode.

    Raises:
        ValueError: no whole adapter is there, or it is one of another base.
    """
    check_adapter(base_name, entry, directory)
    model, tokenizer = load_base(entry, dtype)
    if (directory / "tokenizer_config.json").exists():
        tokenizer = load_tokenizer(directory)
    return put_adapter(model, directory), tokenizer


def check_adapter(base_name: str, entry: ModelEntry, directory: Path) -> dict[str, Any]:
    """Compares what an adapter says of its base with `models.<base_name>`, whose entry it is.

    Returns its adapter_config.json. Our own adapters say in llmill.json which weights they are of, others name their
    base in adapter_config.json.

    Raises:
        ValueError: no whole adapter is there, or it is one of another base.
    """
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (directory / name).is_file():
            raise ValueError(f"{directory}: no {name}; an adapter has {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS}")
    config = read_json_object(directory / ADAPTER_CONFIG)
    identity = base_identity(entry)
    if (directory / FACTS).is_file():
        facts = read_json_object(directory / FACTS)
        if facts.get("base_identity") != identity:
            raise ValueError(
                f"{directory}: the adapter is of the base {facts.get('base')!r} ({facts.get('base_identity')}), "
                f"not of models.{base_name} ({identity}); name its base, or train an adapter for this one"
            )
        return config
    named = str(config.get("base_model_name_or_path"))
    if named not in (base_name, entry.source.partition(":")[2], str(huggingface_directory(entry))):
        raise ValueError(
            f"{directory / ADAPTER_CONFIG}: base_model_name_or_path is {named!r}, "
            f"models.{base_name} is {entry.source!r}: an adapter of another base"
        )
    return config


def put_adapter(model: Any, directory: Path) -> Any:
    """Puts an adapter on a loaded model; returns the peft model in eval mode.

    Raises:
        ValueError: the adapter's tensors do not fit the model.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(directory / ADAPTER_WEIGHTS, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        tuned = PeftModel.from_pretrained(model, directory)
    except (RuntimeError, SafetensorError, ValueError) as error:  # torch's size mismatch, peft's unknown target modules
        raise ValueError(f"{directory}: the adapter is damaged or of another base: {error}") from error
    # "auto" would look for the base's name on the hub. What an adapter must hold is its own; it may hold the matrices
    # of the base's embedding and output layer beside them.
    own = get_peft_model_state_dict(tuned, save_embedding_layers=False)
    expected = {name: tuple(tensor.shape) for name, tensor in own.items()}
    beside = {name: shape for name, shape in shapes.items() if name not in expected}
    if beside:
        whole = get_peft_model_state_dict(tuned, save_embedding_layers=True)
        expected |= {name: tuple(whole[name].shape) for name in beside.keys() & whole.keys()}
    # peft only warns of tensors that are missing or have no place.
    wrong = sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name))
    if wrong:
        raise ValueError(
            f"{directory / ADAPTER_WEIGHTS}: {wrong[0]} has shape {shapes.get(wrong[0])}, the model takes "
            f"{expected.get(wrong[0])}: an adapter of another base"
        )
    return tuned.eval()


def context_length(entry: ModelEntry) -> int:
    """Tokens that a model takes at most, prompt and reply: as its entry says, else as its config does.

    Raises:
        ValueError: neither tells.
    """
    advice = "set max_length of its entry under models:"
    return entry.max_length or config_size(huggingface_directory(entry), "max_position_embeddings", advice)


def free_memory() -> None:
    """Gives the memory of models that are no longer named back, the GPU's included."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
