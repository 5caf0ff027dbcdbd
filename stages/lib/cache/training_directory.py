"""Where a training's checkpoints lie: `.cache/<stage>/<hash of what decides its weights>/`.

What decides them is in the name, so that a killed training goes on, a finished one is published again at once, and
neither is ever taken for another: params, inputs, the code that computes (`code_identity`) and the packages' versions.
What does not decide them (how often a line is printed, what a sample begins with) may change in between.
"""

import importlib.metadata
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages.lib.cache.place import cache_dir
from stages.lib.core.hashes import ledger_key


def deciding(params: Any, decide: Collection[str], other: Collection[str]) -> dict[str, Any]:
    """Those params of a stage that decide its weights.

    `decide` and `other` together name every field, each once: a new one has to be put on its side.
    """
    values: dict[str, Any] = asdict(params)
    assert sorted([*decide, *other]) == sorted(values), f"put on one side: {set(values) ^ {*decide, *other}}"
    return {name: values[name] for name in decide}


def training_directory(
    stage: str, decisive: dict[str, Any], inputs: Sequence[str], code: str, packages: Sequence[str]
) -> Path:
    """The directory of a training; it need not exist yet.

    Args:
        stage: its name.
        decisive: the params that decide the weights.
        inputs: fingerprints of the data and of the weights that it starts from.
        code: `code_identity` of what computes.
        packages: whose versions decide too.
    """
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    directory = cache_dir() / stage / ledger_key(decisive, list(inputs), code, versions)[:16]
    if directory.is_dir():
        os.utime(directory)  # the last used one of a stage is what `make clean-cache` leaves
    return directory
