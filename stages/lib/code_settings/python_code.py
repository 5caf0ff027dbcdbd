"""What a text's Python code sets, loads, imports and prints; variables are no values."""

import ast
import re
from collections.abc import Iterator

from stages.lib.code_settings.setting import Kind, Setting, tells
from stages.lib.code_settings.statements import Statements, statements_of

MOST_PARTS = 3  # of a dotted name

_LOADS = re.compile(r"^(?:from_pretrained|(?:load|read)(?:_\w+)?|from_\w+)$")
_CONSTANT_NAME = re.compile(r"(?:torch|np|numpy|tf|jnp)\.[a-z]+\d+|(?:\w+\.)?[A-Z]\w+\.[A-Z][A-Z0-9_]+")
_PRINTS = re.compile(r"^\s*(?:>>>|\.\.\.)|\)$")  # the line before an output
_KEY = re.compile(r"[A-Za-z_][\w.-]+")
_EVERYDAY = frozenset("print dict str int float list tuple set super len range open format isinstance getattr".split())


def python_settings(text: str) -> Iterator[Setting]:
    """The settings of a text's Python code, statement by statement."""
    shown: set[ast.Dict] = set()  # what stands alone is no setting, but what the line before it prints
    for read in statements_of(text):
        for node in ast.walk(read.tree):
            match node:
                case ast.Call():
                    yield from _of_call(node, read)
                case ast.Assign(targets=[target], value=given):
                    name, value = _dotted(target), _value(given, read)
                    if len(name) > 1 and value and " = " in read.written(node):  # width="5": an attribute of HTML
                        yield Setting("variable", name, "", value, *read.place(node))
                case ast.Expr(value=ast.Dict() as given) | ast.Expr(value=ast.List(elts=[ast.Dict() as given])):
                    shown.add(given)
                    if _PRINTS.search(text[: read.place(node)[0]].rstrip().rpartition("\n")[2]):
                        yield from _of_dict(given, read, "shown")
                case ast.Dict() if node not in shown:
                    yield from _of_dict(node, read, "entry")
                case ast.ImportFrom(module=str(module), level=0) if "." in module:
                    for one in node.names:
                        if one.name != "*":
                            yield Setting("imported", one.name, "", module, *read.place(node))
                case ast.ClassDef(name=name) if bases := [*filter(None, map(_dotted, node.bases))]:
                    yield Setting("base", name, "", ", ".join(bases), *read.place(node, node.bases[-1]))
                case ast.FunctionDef(name=name) if not name.startswith("_"):
                    yield from _of_function(node, read)


def _of_call(node: ast.Call, read: Statements) -> Iterator[Setting]:
    owner = _dotted(node.func)
    called = owner.rpartition(".")[2]
    if not owner or called in _EVERYDAY or called.startswith("_"):
        return
    match node.args:
        case [ast.Constant(value=str(value)) as first, *_] if tells(value) and re.search(r"[A-Za-z]{2}", value):
            yield Setting("loaded" if _LOADS.match(called) else "passed", "", owner, value, *read.place(first))
    for argument in node.keywords:
        match argument.value:
            case ast.Constant(value=bool(on)) if argument.arg:
                yield Setting("switch", argument.arg, owner, str(on), *read.place(argument))
        value = _value(argument.value, read)
        if argument.arg and value and value.lower() not in argument.arg.lower():
            yield Setting("argument", argument.arg, owner, value, *read.place(argument))


def _of_function(node: ast.FunctionDef, read: Statements) -> Iterator[Setting]:
    arguments = node.args.args
    given = [one.arg for one in arguments if one.arg not in ("self", "cls")]
    if len(given) > 1:
        yield Setting("parameters", node.name, "", ", ".join(given), *read.place(node, arguments[-1]))
    for argument, default in zip(reversed(arguments), reversed(node.args.defaults), strict=False):
        if value := _value(default, read):
            yield Setting("default", argument.arg, node.name, value, *read.place(argument, default))


def _of_dict(node: ast.Dict, read: Statements, kind: Kind) -> Iterator[Setting]:
    for key, given in zip(node.keys, node.values, strict=True):
        match key:
            case ast.Constant(value=str(name)) if _KEY.fullmatch(name) and (value := _value(given, read)):
                yield Setting(kind, name, "", value, *read.place(key, given))


def _value(node: ast.expr, read: Statements) -> str:
    """A number or a constant's name as it is written, or a string; "" for all else, and for what tells nothing."""
    match node:
        case ast.Attribute():
            written = read.written(node)
            return written if _CONSTANT_NAME.fullmatch(written) else ""
        case ast.Constant(value=bool()):
            return ""
        case (
            ast.Constant(value=int() | float())
            | ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float()))
        ):
            return read.written(node)
        case ast.Constant(value=str(value)):
            return value if tells(value) else ""
    return ""


def _dotted(node: ast.expr) -> str:
    """`a.b.C` of a name or of attributes of one; "" of all else, and of longer ones."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or len(parts) >= MOST_PARTS:
        return ""
    return ".".join([node.id, *reversed(parts)]).removeprefix("self.")
