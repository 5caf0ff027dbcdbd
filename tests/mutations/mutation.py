"""A mutation: a small fault put into the product on purpose, which the tests that it names must notice.

They stand in the YAML files beside this one, a file an area: file -> `tests`, which must notice all of its faults, and
`faults`, each with its name, the `old` text, the `new` one, and `tests` of its own if others must notice it.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PRODUCT = ("stages", "profiles")


@dataclass(frozen=True)
class Mutation:
    """One fault."""

    fault: str  # in a few words
    file: str  # its name without the room, since rooms move: "rewards.py"
    old: str  # stands once in the files of that name
    new: str
    tests: tuple[str, ...]  # test files by name, or one test of a slow file: "test_rewards", "test_grpo::test_gains"


def read_mutations(directory: Path = Path(__file__).parent) -> Iterator[Mutation]:
    """All mutations of the YAML files, in order.

    Raises:
        ValueError: a file is not as told above.
    """
    for path in sorted(directory.glob("*.yaml")):
        for file, content in YAML(typ="safe").load(path.read_text(encoding="utf-8")).items():
            for fault, change in content["faults"].items():
                named = change.get("tests", content.get("tests"))
                if not named or {*change} - {"tests"} != {"old", "new"} or change["old"] == change["new"]:
                    raise ValueError(f"{path}: {file}: {fault}: expected old, another new, and tests; found {change}")
                yield Mutation(fault, file, change["old"], change["new"], tuple(named))


def source_of(mutation: Mutation, root: Path = ROOT) -> tuple[Path, str]:
    """The mutated file's path below `root`, and its text with the fault.

    Raises:
        ValueError: the old text does not stand there exactly once, or the new one is no Python.
    """
    files = sorted(file for room in PRODUCT for file in (root / room).rglob(mutation.file))
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    found = [file for file, text in texts.items() for _ in range(text.count(mutation.old))]
    if len(found) != 1:
        raise ValueError(
            f"{mutation.file}: {mutation.fault}: its old text stands {len(found)} times in {len(files)} files of that "
            f"name, expected once: {mutation.old!r}; bring tests/mutations up to date"
        )
    text = texts[found[0]].replace(mutation.old, mutation.new)
    try:
        ast.parse(text)
    except SyntaxError as error:
        raise ValueError(f"{mutation.file}: {mutation.fault}: would be no Python: {error}") from error
    return found[0].relative_to(root), text


def named_tests(mutation: Mutation, root: Path = ROOT) -> list[str]:
    """The tests that must notice, as pytest wants them.

    Raises:
        ValueError: there is no such file or test.
    """
    found = []
    for named in mutation.tests:
        name, _, test = named.partition("::")
        files = sorted((root / "tests").rglob(f"{name}.py"))
        if not files or (test and not all(f"def {test}(" in file.read_text(encoding="utf-8") for file in files)):
            raise ValueError(f"{mutation.file}: {mutation.fault}: there is no {named} below tests/")
        found += [str(file.relative_to(root)) + (f"::{test}" if test else "") for file in files]
    return found
