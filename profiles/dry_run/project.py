"""The folder of a dry run: a copy of the project's files with the profile and the small sizes laid over its params."""

import copy
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from profiles.overlay import check_params, lay_over, read_profile
from stages.lib.core.params import PARAMS_FILE, read_yaml
from stages.lib.weights.models import ModelEntry, model_entry, resolved_dtype

ROOT = Path(__file__).resolve().parent.parent.parent
SIZES = Path(__file__).parent / "sizes.yaml"
# Sections of stages that a dry run leaves out, and with them their models: pretraining has no model of the hub.
LEFT_OUT = ("shard", "pretrain", "finetune")

# Of qlora and grpo: what only a card does, and what a CPU does in its place.
CARDS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "backend": (("unsloth",), "hf"),
    "tf32": ((True,), False),
    "attn_implementation": (("flash_attention_2",), "sdpa"),
    "use_vllm": ((True,), False),
}

COMPUTING = ("qlora", "grpo", "gguf", "eval")  # sections with a dtype of their own


def copy_project(target: Path) -> None:
    """Copies the files that git has or would take, as they lie in the checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():  # what is deleted and not yet committed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def dry_params(profile: str) -> tuple[dict[str, Any], list[str]]:
    """params.yaml under the profile and the small sizes, and a line for each thing that a CPU cannot and what takes
    its place.

    Raises:
        ValueError: no such profile, or it does not load.
    """
    params = copy.deepcopy(read_yaml(ROOT / PARAMS_FILE))
    lay_over(params, read_profile(profile))
    check_params(params, where=f"profile {profile}")
    replaced = [
        f"chunk.sources: {source.get('name') or source['patterns']} -> installed packages"
        for source in params["chunk"]["sources"]
        if source["kind"] != "packages"
    ]
    lay_over(params, read_yaml(SIZES))
    for section in ("qlora", "grpo"):
        for key, (only_cards, value) in CARDS.items():
            if key in params[section] and params[section][key] in only_cards:
                replaced.append(f"{section}.{key}: {params[section][key]} -> {value}")
                params[section][key] = value
    if resolved_dtype("auto") == "float32":
        for section in COMPUTING:
            if params[section]["dtype"] == "bfloat16":
                replaced.append(f"{section}.dtype: bfloat16 -> float32, many times faster on a CPU without AMX")
                params[section]["dtype"] = "float32"
    check_params(params, where=f"{SIZES.name} over profile {profile}")
    return params, replaced


def write_params(params: dict[str, Any], project: Path) -> None:
    """Writes the params.yaml of a dry run's project."""
    yaml = YAML()
    yaml.default_flow_style = False
    with (project / PARAMS_FILE).open("w", encoding="utf-8") as out:
        yaml.dump(params, out)


def used_entries(params: dict[str, Any], names: list[str]) -> dict[str, ModelEntry]:
    """The entries of model names, each once."""
    return {name: model_entry(name, params["models"], PARAMS_FILE.name) for name in dict.fromkeys(names)}
