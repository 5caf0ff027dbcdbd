"""The code as the graph's tests read it: what each file imports, and what DVC is to be told of it."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# What runs a module that is named by a value, where the import closure does not see it.
LOADERS = {"import_module", "__import__", "reload", "run_module", "run_path", "spec_from_file_location", "exec"}


def module_files(module: str) -> list[str]:
    """The local files that importing `module` runs: packages' __init__.py and the module itself."""
    parts = module.split(".")
    files = [Path(*parts[:i], "__init__.py") for i in range(1, len(parts) + 1)]
    files.append(Path(*parts).with_suffix(".py"))
    return [str(file) for file in files if (ROOT / file).is_file()]


def imported_modules(file: str) -> set[str]:
    """Every module under stages/ that the file imports anywhere, functions included."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: relative import"
            modules.add(node.module)
            modules.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {module for module in modules if module.split(".")[0] == "stages"}


def import_closure(file: str) -> set[str]:
    """The file and every local file that it imports, directly or not."""
    seen: set[str] = set()
    waiting = [file, *module_files("stages")]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += [found for module in imported_modules(current) for found in module_files(module)]
    return seen


def room_of(file: str) -> str | None:
    """The room of stages/lib that a file stands in; None for a stage's script and the packages' own files."""
    parts = file.split("/")
    return parts[2] if parts[:2] == ["stages", "lib"] and len(parts) > 3 else None


def hidden_imports(source: str) -> Iterator[str]:
    """Calls that load a module which the import closure cannot see: one of ours, or of a name that is computed.

    A library's name written out (`import_module("wandb")`) is none: no file of ours hangs on it.
    """
    tree = ast.parse(source)
    names = dict.fromkeys(LOADERS) | {
        alias.asname: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if alias.asname and alias.name in LOADERS
    }
    called = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        called.add(id(node.func))
        if name in names:
            first = node.args[0] if node.args else None
            literal = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""
            simple = name in ("import_module", "__import__") or names[name] == "import_module"
            if not simple or not literal or literal.startswith(".") or literal.split(".")[0] in ("stages", "profiles"):
                yield ast.unparse(node)
    for node in ast.walk(tree):  # a loader under another name: load = importlib.import_module
        used = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
        if isinstance(node, ast.Attribute | ast.Name) and used in LOADERS and id(node) not in called:
            if not isinstance(node.ctx, ast.Load):
                continue
            yield ast.unparse(node)
