"""Shards as the stage shard writes them, of small texts."""

from pathlib import Path
from typing import Any

import yaml

import stages.shard
from tests.params_of import section


def write_shards(tokenizer: str = "byte", val_fraction: float = 0.5, words: int = 40, **changes: Any) -> None:
    """data/shards of 40 documents in the working directory, whose params.yaml is afterwards as it was."""
    place = Path("texts")
    place.mkdir(exist_ok=True)
    for i in range(40):
        (place / f"{i}.txt").write_text(f"{i} " + f"word{i} says it is. " * (words // 4))
    settings = section("shard") | {"tokenizer": tokenizer, "val_fraction": val_fraction, "workers": 1} | changes
    settings["sources"] = [{"kind": "files", "patterns": ["texts/*.txt"]}]
    params = Path("params.yaml")
    before = params.read_text() if params.exists() else None
    params.write_text(yaml.safe_dump({"shard": settings}))
    stages.shard.main()
    params.unlink() if before is None else params.write_text(before)
