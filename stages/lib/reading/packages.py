"""Documents from the documentation of installed packages: docstrings and the README in their metadata.

Files are parsed, never imported. What comes out depends on the installed versions alone.
"""

import ast
import importlib.metadata
import inspect
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from stages.lib.reading.documents import Advance, DocumentOrDrop, DocumentStream, Drop, as_document

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class PackagesSource:
    """`kind: packages`: one document for each public docstring and README of installed distributions."""

    kind: Literal["packages"]
    names: list[str]  # distributions, as pip names them
    min_chars: int = 300  # shorter docstrings are dropped (`short_docstring`)
    readme: bool = True  # also the README of the distribution's metadata
    limit: int = 0  # documents at most; 0: all

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ValueError(f"limit: {self.limit} is negative")
        if not self.names:
            raise ValueError("names: no package is named")


def read_packages(source: PackagesSource, max_chars: int, advance: Advance) -> DocumentStream:
    """Yields the documents of each package, in the order of `names`, sorted by their `source` within a package.

    Raises:
        ValueError: at the call, when a package is not installed or has no Python files.
    """
    found = [(name, *_python_files(name)) for name in source.names]  # before anything is read
    return _read(source, found, max_chars, advance)


def packages_size(source: PackagesSource) -> int:
    """Bytes of Python source to be read."""
    return sum(path.stat().st_size for name in source.names for path in _python_files(name)[1].values())


def _read(
    source: PackagesSource,
    found: list[tuple[str, importlib.metadata.Distribution, dict[str, Path]]],
    max_chars: int,
    advance: Advance,
) -> DocumentStream:
    for name, distribution, files in found:
        prefix = f"{name}=={distribution.version}"
        items: list[DocumentOrDrop] = []
        readme = distribution.metadata.json.get("description")
        if source.readme and isinstance(readme, str):
            items.append(as_document(f"{prefix}:README", readme, f"{prefix}:README", max_chars, name))
        for inside, path in files.items():
            raw = path.read_bytes()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # invalid escapes in other people's docstrings
                    tree = ast.parse(raw)
            except (SyntaxError, ValueError, RecursionError) as error:
                items.append(Drop(f"{prefix}:{inside}", "unparsable_python", str(error)))
            else:
                for qualified, docstring in _docstrings(tree, _module_name(inside)):
                    place = f"{prefix}:{qualified}"
                    if len(docstring) < source.min_chars:
                        items.append(Drop(place, "short_docstring", f"{len(docstring)} characters"))
                    else:
                        items.append(as_document(place, docstring, place, max_chars, name))
            advance(len(raw))
        yield from sorted(items, key=lambda item: item.source)  # stable: same names stay in the order of the file


def _python_files(name: str) -> tuple[importlib.metadata.Distribution, dict[str, Path]]:
    """The distribution and its public modules: path inside it -> path on disk, sorted."""
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(f"names: package {name!r} is not installed") from error
    inside = sorted(
        file.as_posix() for file in distribution.files or [] if file.suffix == ".py" and _is_public_module(file)
    )
    files = {file: Path(str(distribution.locate_file(file))) for file in inside}
    files = {file: path for file, path in files.items() if path.is_file()}
    if not files:
        raise ValueError(f"names: package {name!r} lists no Python files (is it an editable install?)")
    return distribution, files


def _is_public_module(file: PurePath) -> bool:
    parts = [*file.parts[:-1], file.stem]
    return ".." not in parts and all(part == "__init__" or not part.startswith("_") for part in parts)


def _module_name(inside: str) -> str:
    parts = PurePath(inside).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _docstrings(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    """(qualified name, cleaned docstring) of the module and its public classes, functions and methods."""
    stack: list[tuple[str, _Documented]] = [(module, tree)]
    while stack:
        qualified, node = stack.pop()
        docstring = ast.get_docstring(node, clean=False)
        if docstring is not None:
            yield qualified, inspect.cleandoc(docstring)
        if isinstance(node, ast.Module | ast.ClassDef):
            children = [
                (f"{qualified}.{child.name}", child) for child in _definitions(node) if not child.name.startswith("_")
            ]
            stack.extend(reversed(children))


def _definitions(node: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Classes and functions of a body, those under `if` and `try` included, those inside functions not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        elif isinstance(child, ast.If | ast.Try | ast.TryStar | ast.ExceptHandler | ast.With):
            yield from _definitions(child)
