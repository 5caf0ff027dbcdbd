"""Which code decides a result: a hash of all definitions that a function reaches, for keys under `.cache/`.

What is kept under a key must not outlive the code that made it. `code_identity(train)` follows every name that `train`
uses, in code and in type annotations, to the function, class or constant of this project behind it, and on from there.
So the key changes with each line that has a part in the result, and with no other: an edited picture in the same file
leaves a training alone. Comments, docstrings, layout, printed lines and the messages of errors do not count.

What it relies on: what a function touches is named in it, in code or in the annotations that mypy's strict mode asks
for. An object that comes in as an argument counts by its annotated class; where that is a Protocol, the caller names
what implements it as a root of its own. Third-party code is not followed: its versions belong beside this hash.

Run: python -m stages.lib.cache.code_identity stages.pretrain:begin   (lists what is hashed)
"""

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from stages.lib.cache.definitions import (
    Function,
    ModuleSource,
    Unit,
    dumped,
    module_file,
    normalised,
    read_source,
    references,
    short_name,
)

ROOT = Path(__file__).parents[3]
# Where the search always stops: what these give stands in the keys by value (entries, params, hashes), or they carry
# bytes from place to place. Whole rooms, and single modules.
PLUMBING = (
    *("core", "cache", "weights.models"),
    *("llm.in_flight", "llm.openai_client", "llm.server_limits", "llm.server_answers"),
)


def code_identity(*roots: Any, without: Iterable[Any] = ()) -> str:
    """Hash of the code that the roots reach.

    Args:
        roots: functions, methods or classes of this project.
        without: the same; where the search stops, because what they give is in the key already (a model's entry) or
            does not decide the result (what a clock said).
    """
    return _identity(ROOT, tuple(map(unit_of, roots)), (*map(unit_of, without), *plumbing()))


def plumbing() -> list[Unit]:
    """The modules of PLUMBING, each as a whole."""
    names = [f"stages.lib.{name}" for name in PLUMBING]
    rooms = [name for name in names if ROOT.joinpath(*name.split(".")).is_dir()]
    inside = [f"{room}.{file.stem}" for room in rooms for file in ROOT.joinpath(*room.split(".")).glob("*.py")]
    return [Unit(name, "") for name in sorted([*names, *inside])]


@cache
def _identity(root: Path, roots: tuple[Unit, ...], without: tuple[Unit, ...]) -> str:
    return hashlib.sha256("\n".join(closure(root, roots, without).values()).encode()).hexdigest()


def unit_of(thing: Any) -> Unit:
    """Where a function, class, method or property is defined; a script that runs as `__main__` by its own name."""
    thing = getattr(thing, "fget", None) or getattr(thing, "func", None) or thing
    module = thing.__module__
    if module == "__main__":  # without a spec where it is no module (python -c): then it is another's code
        module = getattr(sys.modules["__main__"].__spec__, "name", module)
    return Unit(module, thing.__qualname__)


def closure(root: Path, roots: Iterable[Unit], without: Iterable[Unit] = ()) -> dict[str, str]:
    """All that the roots reach, by name, each as the normalised text that is hashed; sorted.

    `without`: where the search stops; a unit with an empty name is all of its module.
    """
    stop, waiting = set(without), list(roots)
    seen: set[Unit] = set()
    found: dict[str, str] = {}
    modules: set[str] = set()
    while waiting:
        unit = waiting.pop()
        if unit in seen or unit in stop or Unit(unit.module, "") in stop:
            continue
        seen.add(unit)
        if module_file(root, unit.module) is None:  # another's code, by its name
            found[str(unit)] = str(unit)
            continue
        source = read_source(root, unit.module)
        if unit.module not in modules:  # importing it runs these
            modules.add(unit.module)
            waiting.append(Unit(unit.module, "<import>"))
        dumps, names = [], {}
        for node in _nodes(source, unit):
            cleaned, types = normalised(node)
            for name, target in references(root, unit, source, cleaned):
                names[name] = f"{short_name(target.module)}:{target.name}"
                if isinstance(target, Unit):
                    waiting.append(target)
            dumps.append(dumped(cleaned))
            for annotation in types:
                found_types = references(root, unit, source, ast.Expr(annotation))
                waiting += [target for _, target in found_types if isinstance(target, Unit)]
        # A module counts by its file's name alone: moving it to another room changes no result.
        found[str(unit)] = f"{short_name(unit.module)}:{unit.name} {' '.join(dumps)} {sorted(names.items())}"
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _nodes(source: ModuleSource, unit: Unit) -> Iterator[ast.stmt]:
    """The statements of a unit."""
    name, _, method = unit.name.partition(".")
    if unit.name == "<import>":
        statements = source.effects
    elif not name:
        statements = [*(one for found in source.definitions.values() for one in found), *source.effects]
    else:
        assert name in source.definitions, f"{unit}: no such definition"
        statements = source.definitions[name]
    for statement in statements:
        if method and isinstance(statement, ast.ClassDef):
            yield _with_method(statement, method)
        else:
            yield statement


def _with_method(statement: ast.ClassDef, method: str) -> ast.ClassDef:
    """A class with one of its methods, and what that stands on: `__init__`, and the methods that it calls on self."""
    inside = {one.name: one for one in statement.body if isinstance(one, Function)}
    assert method in inside, f"{statement.name} has no method {method}"
    kept = {method, "__init__"}
    waiting = list(kept & set(inside))
    while waiting:  # through self.other
        for node in ast.walk(inside[waiting.pop()]):
            if not isinstance(node, ast.Attribute) or node.attr in kept or node.attr not in inside:
                continue
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                kept.add(node.attr)
                waiting.append(node.attr)
    frame = deepcopy(statement)
    frame.body = [one for one in frame.body if not isinstance(one, Function) or one.name in kept]
    return frame


def main() -> None:
    """Lists what the functions named on the command line reach."""
    roots = [Unit(*name.split(":", 1)) for name in sys.argv[1:]]
    if not roots or not all(module_file(ROOT, root.module) for root in roots):
        sys.exit("usage: python -m stages.lib.cache.code_identity MODULE:NAME ...   such as stages.pretrain:begin")
    print("\n".join(sorted(closure(ROOT, roots, plumbing()))))


if __name__ == "__main__":
    main()
