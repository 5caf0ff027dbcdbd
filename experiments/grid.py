"""The experiments of a grid, by name: the product of lists of values."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Experiment:
    """A name, and what `dvc exp run -S` is told."""

    name: str
    overrides: tuple[str, ...]


def grid(lists: Sequence[str]) -> list[Experiment]:
    """All combinations of `KEY=VALUE,VALUE,...`; a comma within brackets divides nothing.

    A name says the values, so that a list that grows leaves the names of before as they are.

    Raises:
        ValueError: a list without `=`, without values, or a combination that is there twice.
    """
    keys, values = [], []
    for text in lists:
        key, equals, listed = text.partition("=")
        found = re.split(r",(?![^\[{]*[\]}])", listed)
        if not equals or not key or not all(found):
            raise ValueError(f"-S {text}: expected KEY=VALUE or KEY=VALUE,VALUE,...")
        keys.append(key)
        values.append(found)
    short = [key.rpartition(".")[2] for key in keys]
    shown = short if len(set(short)) == len(short) else keys
    experiments = [
        Experiment(
            name="_".join(f"{key}={_in_a_ref(value)}" for key, value in zip(shown, chosen, strict=True)),
            overrides=tuple(f"{key}={value}" for key, value in zip(keys, chosen, strict=True)),
        )
        for chosen in itertools.product(*values)
    ]
    names = [experiment.name for experiment in experiments]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"twice in the grid: {', '.join(sorted(twice))}")
    return experiments


def _in_a_ref(value: str) -> str:
    """The value as git lets it stand in the name of a ref."""
    return re.sub(r"[^\w.+-]+|\.\.+", "-", value)
