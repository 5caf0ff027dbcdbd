"""The parameters of installed libraries with the defaults that their docstrings state: whose place is known."""

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

LIBRARIES = ("peft", "accelerate")
# `name (type, *optional*, defaults to 8):`, with or without backticks; the description goes on below, further in
_ENTRY = re.compile(r"^(?P<indent> *)[`*]*(?P<name>[A-Za-z_]\w*)[`*]* *\((?P<type>[^\n]*)\) *:", re.MULTILINE)
_DEFAULT = re.compile(r"\b[Dd]efaults? (?:value )?(?:to|is)\s+[`\"']*(?P<value>(?!the\b)[\w.\-]*\w)")


class Entry(NamedTuple):
    """A parameter's entry in a docstring."""

    owner: str  # class or function
    name: str
    docstring: str
    start: int  # of the entry in the docstring, characters
    end: int
    default: str  # as the entry states it; "" if it states none

    @property
    def text(self) -> str:
        """The entry as it stands."""
        return self.docstring[self.start : self.end]


def parameter_entries(libraries: Sequence[str] = LIBRARIES) -> list[Entry]:
    """The entries of all docstrings of the libraries, in the order of the files; equal ones once."""
    found: dict[tuple[str, str, str], Entry] = {}
    for library in libraries:
        spec = find_spec(library)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"{library} is not installed: pip install {library}")
        for file in sorted(Path(spec.origin).parent.rglob("*.py")):
            for owner, docstring in _docstrings(file):
                for entry in entries(owner, docstring):
                    found.setdefault((owner, entry.name, entry.text), entry)
    return list(found.values())


def entries(owner: str, docstring: str) -> list[Entry]:
    """The entries of one docstring; one ends where a line stands no further in than it."""
    made = []
    for match in _ENTRY.finditer(docstring):
        indent = len(match["indent"])
        end = match.end()
        for line in re.finditer(r"\n([^\n]*)", docstring[match.end() :]):
            body = line[1]
            if body.strip() and len(body) - len(body.lstrip()) <= indent:
                break
            if body.strip():
                end = match.end() + line.end()
        else:
            end = max(end, len(docstring.rstrip()))
        end = max(end, docstring.find("\n", match.end()) if "\n" in docstring[match.end() :] else len(docstring))
        text = docstring[match.start() : end]
        stated = _DEFAULT.search(text)
        made.append(Entry(owner, match["name"], docstring, match.start(), end, stated["value"] if stated else ""))
    return made


def _docstrings(file: Path) -> Iterator[tuple[str, str]]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            if docstring:
                yield node.name, inspect.cleandoc(docstring)
