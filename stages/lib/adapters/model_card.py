"""The directory of a trained adapter, as eval, gguf and people find it: whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.lib.core.records import appearing_directory, read_json_object, saving, write_json, write_text
from stages.lib.weights.base import ADAPTER_CONFIG, ADAPTER_WEIGHTS, FACTS

CARD = "README.md"


def publish(target: Path, checkpoint: Path, tokenizer: Any, facts: Mapping[str, Any], card: str) -> None:
    """Writes adapter, tokenizer, chat template, README.md and llmill.json (`facts`: base, base_identity, ...).

    `checkpoint`: a directory in which peft saved the adapter.

    Raises:
        ValueError: the disk is full or not writable; nothing is left behind, an earlier adapter stays.
    """
    from safetensors.torch import load_file, save_file

    # Beside adapted embeddings peft may have saved the base's, which are no part of the adapter.
    learned = {
        name: tensor for name, tensor in load_file(checkpoint / ADAPTER_WEIGHTS).items() if ".base_layer." not in name
    }
    config = read_json_object(checkpoint / ADAPTER_CONFIG)
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()  # a set: its order changes from run to run
    config["base_model_name_or_path"] = facts["base"]
    with saving(target, "the adapter"), appearing_directory(target) as temporary:
        save_file(learned, temporary / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        write_json(temporary / ADAPTER_CONFIG, config)
        tokenizer.save_pretrained(temporary)
        write_json(temporary / FACTS, dict(facts))
        write_text(temporary / CARD, card)


def write_card(target: Path, card: str) -> None:
    """Another README.md for a published adapter: what was measured on it."""
    with saving(target, "the adapter's card"):
        write_text(target / CARD, card)


def model_card(
    *,
    title: str,
    base: str,
    source: str,
    method: str,
    data: Mapping[str, Any],
    params: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
) -> str:
    """README.md in the hub's format: what it is of, what it learned from (with hashes), how, and what came out.

    `metrics`: None: not measured yet.
    """
    hub = source.partition(":")[2] if source.startswith("hub:") else ""
    head = ["---", *([f"base_model: {hub}"] if hub else []), "library_name: peft", "pipeline_tag: text-generation"]
    return "\n".join(
        [
            *head,
            "tags: [lora, llmill]",
            "---",
            "",
            f"# {title}",
            "",
            f"{method} The base is `{base}` (`{source}`); this directory holds the adapter alone.",
            "",
            "## Data",
            "",
            *_table(data),
            "",
            "## Training",
            "",
            *_table(params),
            "",
            "## Results",
            "",
            *(["Not measured yet."] if metrics is None else _table(metrics)),
            "",
            "The base's licence holds for this adapter too.",
            "",
        ]
    )


def _table(values: Mapping[str, Any]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {key.replace('_', ' ')} | {_cell(value)} |" for key, value in values.items())]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value) or "all"
    return str(value)
