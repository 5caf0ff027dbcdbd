"""The directory of a trained retriever, in sentence-transformers' layout: whole or not at all."""

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.lib.core.records import saving, write_json, write_text
from stages.lib.retriever_training.trainers import FROZEN

WEIGHTS = "model.safetensors"
FACTS = "llmill.json"
# Of a trainer's checkpoint what is no part of the model.
TRAINERS_OWN = ("optimizer.pt", "scheduler.pt", "rng_state*", "training_args.bin", "trainer_state.json", "README.md")


def publish(
    target: Path, checkpoint: Path, base: Path, *, tuned_share: float, facts: Mapping[str, Any], card: str
) -> None:
    """Writes the checkpoint's model with README.md and llmill.json, its weights brought back towards the base's.

    `tuned_share`: of the tuned weights in the mean with the base's, 0..1 (WiSE-FT, Wortsman et al., CVPR 2022: what the
    base knew of other subjects is kept).

    Raises:
        ValueError: the disk is full or not writable; nothing is left behind.
    """
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}"
    with saving(target, "the model"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copytree(checkpoint, temporary, ignore=shutil.ignore_patterns(*TRAINERS_OWN))
            average(temporary / WEIGHTS, base / WEIGHTS, tuned_share)
            write_json(temporary / FACTS, dict(facts))
            write_text(temporary / "README.md", card)
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def average(tuned: Path, base: Path, tuned_share: float) -> None:
    """Replaces a file of weights by tuned_share * tuned + (1 - tuned_share) * base, name by name."""
    from safetensors.torch import load_file, save_file

    if tuned_share == 1.0:
        return
    before = load_file(base)
    mixed = {
        name: value if FROZEN in name else value.lerp(before[name].to(value.dtype), 1.0 - tuned_share)
        for name, value in load_file(tuned).items()
    }
    save_file(mixed, tuned, metadata={"format": "pt"})


def card(title: str, base: str, method: str, values: Mapping[str, Any]) -> str:
    """README.md: what it is of, how it was trained, on how much."""
    rows = [f"| {name.replace('_', ' ')} | {value} |" for name, value in values.items()]
    head = ["---", "library_name: sentence-transformers", "tags: [llmill]", "---", "", f"# {title}", ""]
    told = [f"{method} It starts from `{base}`, whose licence holds for it too.", ""]
    return "\n".join([*head, *told, "| | |", "|---|---|", *rows, ""])
