"""The source of this project by its definitions: what a module defines, and what the names in a definition stand for.

Nothing is imported or run: everything is read off the syntax trees.
"""

import ast
import symtable
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Unit(NamedTuple):
    """A definition: a function, a class, a method, a constant, or (with an empty name) all of a module."""

    module: str
    name: str  # qualified: "Class.method"

    def __str__(self) -> str:
        return f"{self.module}:{self.name or '*'}"


class Binding(NamedTuple):
    """What a name stands for that an import brought."""

    module: str
    name: str  # "": the module itself


@dataclass
class ModuleSource:
    """A module of the project, taken apart."""

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)  # top-level name -> statements that bind it
    imports: dict[str, Binding] = field(default_factory=dict)
    effects: list[ast.stmt] = field(default_factory=list)  # what importing the module does besides


@cache
def read_source(root: Path, module: str) -> ModuleSource:
    """A module's definitions, imports and effects."""
    path = module_file(root, module)
    assert path is not None, f"{module}: no such module of the project"
    source = ModuleSource()
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        bound = list(_bound(statement))
        source.imports.update(dict(_imported(statement)))
        for name in bound:
            source.definitions.setdefault(name, []).append(statement)
        if not bound and not isinstance(statement, ast.Import | ast.ImportFrom) and not _does_nothing(statement):
            source.effects.append(statement)
    return source


def _does_nothing(statement: ast.stmt) -> bool:
    """A docstring, the part that runs as a script, or imports for annotations alone."""
    if isinstance(statement, ast.If):
        test = ast.unparse(statement.test)
        return test.startswith("__name__ ==") or test in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a top-level statement binds, imports excepted."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield statement.name
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                yield from (node.id for node in ast.walk(target) if _binds(node))  # type: ignore[attr-defined]
        case ast.If() | ast.Try() | ast.With() | ast.For():
            for node in ast.walk(statement):
                if node is not statement and isinstance(node, ast.stmt):
                    yield from _bound(node)


def _binds(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _imported(node: ast.AST) -> Iterator[tuple[str, Binding]]:
    """Every import anywhere in a statement: the name that it binds, and to what."""
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            for alias in part.names:
                top = alias.name.partition(".")[0]
                yield alias.asname or top, Binding(alias.name if alias.asname else top, "")
        elif isinstance(part, ast.ImportFrom) and part.module:
            assert part.level == 0, "relative imports are not followed"
            for alias in part.names:
                yield alias.asname or alias.name, Binding(part.module, alias.name)


def module_file(root: Path, module: str) -> Path | None:
    """The file of a module of the project; None: another's."""
    place = root.joinpath(*module.split("."))
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return file
    return None


def references(root: Path, unit: Unit, source: ModuleSource, node: ast.AST) -> Iterator[tuple[str, Unit | Binding]]:
    """What the names in a statement stand for: definitions of the project, and others' by their import."""
    inner = dict(_imported(node))
    used = _global_names(node) | set(inner)
    attributes = {id(part.value): part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and _names_module(root, part.value):
            yield str(part.value), Unit(str(part.value), "")  # importlib
        if not isinstance(part, ast.Name) or part.id not in used:
            continue
        binding = inner.get(part.id) or source.imports.get(part.id)
        if binding is None:
            if part.id in source.definitions and part.id != unit.name:
                yield part.id, Unit(unit.module, part.id)
        else:
            attribute = attributes.get(id(part), "")
            yield f"{part.id}.{attribute}", _resolved(root, binding, attribute)


def _names_module(root: Path, value: object) -> bool:
    dotted = isinstance(value, str) and "." in value and all(part.isidentifier() for part in value.split("."))
    return dotted and module_file(root, str(value)) is not None


def _global_names(node: ast.AST) -> set[str]:
    """The names in a statement that no scope within it binds, as Python's own compiler finds them."""
    names: set[str] = set()
    waiting = [symtable.symtable(ast.unparse(node), "<definition>", "exec")]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
                names.add(symbol.get_name())
    return names


def _resolved(root: Path, binding: Binding, attribute: str) -> Unit | Binding:
    """The definition behind an imported name, also where a module hands on what it imported itself."""
    inside = f"{binding.module}.{binding.name}" if binding.name else binding.module
    if module_file(root, inside) is not None:  # a module, of which an attribute is used, or all
        return _resolved(root, Binding(inside, attribute), "") if attribute else Unit(inside, "")
    if module_file(root, binding.module) is None:
        return binding  # another's code
    source = read_source(root, binding.module)
    if binding.name in source.definitions:
        return Unit(binding.module, binding.name)
    if binding.name in source.imports:
        return _resolved(root, source.imports[binding.name], attribute)
    return Unit(binding.module, "")


def normalised(statement: ast.stmt) -> tuple[ast.stmt, list[ast.expr]]:
    """A copy without what decides no result, and the types of the fields that were taken out.

    Taken out are docstrings, printed lines, the messages of errors, and fields without a default: a field brings a
    value, which is in the key, and no code.
    """
    copy, types = deepcopy(statement), []
    for node in ast.walk(copy):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() if _is_text(node.body[0]):
                del node.body[0]
            case ast.Raise(exc=ast.Call(func=raised)):
                node.exc, node.cause = raised, None
            case ast.Assert():
                node.msg = None
        if isinstance(node, ast.ClassDef):
            types += [one.annotation for one in node.body if _is_field(one)]  # type: ignore[attr-defined]
            node.body = [one for one in node.body if not _is_field(one)]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [one for one in body if not _is_print(one)] or [ast.Pass()]
    return copy, types


def dumped(statement: ast.stmt) -> str:
    """A statement as text; an imported module counts by its file's name, so that it may move to another room."""
    for node in ast.walk(statement):
        if isinstance(node, ast.ImportFrom):
            node.module = short_name(node.module or "")
    return ast.dump(statement)


def short_name(module: str) -> str:
    """The last part of a module's name."""
    return module.rpartition(".")[2]


def _is_field(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.AnnAssign) and statement.value is None


def _is_print(statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"


def _is_text(statement: ast.stmt) -> bool:
    constant = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(constant, ast.Constant) and isinstance(constant.value, str)
