"""What a model directory's sentence-transformers files tell: modules, limits, prompts.

`modules.json` lists what a text goes through. A transformer, one of our poolings and a normalisation are computed here
(text_encoder.py); whatever else is asked for (dense layers, other poolings, weights in a folder of their own, static
embeddings, a router for queries and documents) sentence-transformers itself runs (module_encoder.py).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.lib.core.records import read_json, read_json_object
from stages.lib.embedding.pooling import POOLINGS

PLAIN_SETTINGS = {  # of sentence_bert_config.json: what a transformer without settings of its own has
    "max_seq_length",
    "do_lower_case",
    "transformer_task",
    "modality_config",
    "module_output_name",
    "unpad_inputs",
}
DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # names of a document's prompt, as encode_document looks for them
LEGACY_POOLINGS = {  # key of the pooling's config before sentence-transformers 6 -> its name
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class Layout:
    """How the vectors of a model directory come about."""

    pooling: str  # one of POOLINGS, or what the directory calls another one
    foreign: str  # what only sentence-transformers runs; "": nothing


def read_layout(directory: Path) -> Layout:
    """Reads `modules.json` and what it names.

    Raises:
        ValueError: the directory does not say how token states become a vector.
    """
    file = directory / "modules.json"
    listed = read_json(file, hint="it would tell the model's own pooling; or set `pooling: last_token`")
    if not isinstance(listed, list) or not all(isinstance(module, dict) and "type" in module for module in listed):
        raise ValueError(f"{file}: expected a list of modules, each with its type")
    pooling, foreign = "", []
    for module in listed:
        kind, path = str(module["type"]).rpartition(".")[2], str(module.get("path") or "")
        match kind:
            case "Transformer":
                foreign += [f"a Transformer in {path}"] if path not in ("", ".") else foreign_settings(directory)
            case "Pooling":
                config = read_json_object(directory / path / "config.json")
                modes = _poolings(config, directory / path)
                pooling = "+".join(modes)
                if pooling not in POOLINGS:
                    foreign.append(f"pooling {pooling}")
                if config.get("include_prompt") is False:
                    foreign.append("a pooling that leaves the prompt out")
            case "Normalize":
                pass  # every vector is normalised here, with and without such a module
            case _:
                foreign.append(kind)
    if not pooling and not foreign:
        raise ValueError(f"{file}: names no Pooling module")
    return Layout(pooling or "none", ", ".join(foreign))


def _poolings(config: dict[str, Any], folder: Path) -> list[str]:
    """`pooling_mode: mean` (sentence-transformers 6) or `pooling_mode_mean_tokens: true` (before); mean if none."""
    modes = config.get("pooling_mode")
    if modes is None and not config.keys() & {*LEGACY_POOLINGS, "embedding_dimension", "word_embedding_dimension"}:
        raise ValueError(f"{folder / 'config.json'}: not the config of a pooling: {sorted(config)}")
    if modes is None:
        modes = [name for key, name in LEGACY_POOLINGS.items() if config.get(key)] or ["mean"]
    return [modes] if isinstance(modes, str) else [str(mode) for mode in modes]


def foreign_settings(directory: Path) -> list[str]:
    """What of a transformer at the root of a directory only sentence-transformers runs."""
    settings = _optional(directory / "sentence_bert_config.json")
    unknown = sorted(key for key in settings if key not in PLAIN_SETTINGS and settings[key])
    found = [f"{', '.join(unknown)} of sentence_bert_config.json"] if unknown else []
    if settings.get("transformer_task", "feature-extraction") != "feature-extraction":
        found.append(f"transformer_task {settings['transformer_task']}")
    if any(key != "text" for key in settings.get("modality_config") or {}):
        found.append("a modality_config of more than text")
    config = _optional(directory / "config.json")
    if config.get("is_encoder_decoder") or "t5" in str(config.get("model_type")):  # an encoder alone denies it
        found.append("the encoder of an encoder-decoder")
    return found


def lower_cases(directory: Path) -> bool:
    """Whether texts are put into lower case first (`do_lower_case` of sentence_bert_config.json)."""
    return bool(_optional(directory / "sentence_bert_config.json").get("do_lower_case"))


def own_sequence_limit(directory: Path) -> int | None:
    """`max_seq_length` of sentence_bert_config.json, in tokens."""
    own = _optional(directory / "sentence_bert_config.json").get("max_seq_length")
    return int(own) if own else None


def truncate_dim(directory: Path) -> int | None:
    """How many of a vector's dimensions the model's authors keep (Matryoshka); None: all."""
    kept = _optional(directory / "config_sentence_transformers.json").get("truncate_dim")
    return int(kept) if kept else None


def own_prompts(directory: Path) -> tuple[str, str]:
    """What the directory puts before a query and before a document; "": nothing.

    A document's is the first of DOCUMENT_PROMPTS that is not empty. (sentence-transformers' `encode_document` says the
    same, but adds an empty `document` to every model, before which `passage` never has its turn.) `default_prompt_name`
    is for neither, as in `encode_query` and `encode_document`.

    Raises:
        ValueError: prompts that are no texts by name.
    """
    file = directory / "config_sentence_transformers.json"
    prompts = _optional(file).get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise ValueError(f"{file}: prompts: expected texts by name, found {prompts!r}")
    return prompts.get("query") or "", next((prompts[name] for name in DOCUMENT_PROMPTS if prompts.get(name)), "")


def _optional(file: Path) -> dict[str, Any]:
    return read_json_object(file) if file.is_file() else {}
