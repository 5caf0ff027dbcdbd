"""The Python statements of a text that may begin and end within one, with prose between them.

Read by Python's own parser (`ast`), the shortest run of lines that parses at a time.
"""

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MOST_LINES = 25  # of a statement
MOST_CHARS = 2000  # of a statement: `ast` is slow on what is not Python

_PROMPT = re.compile(r"^\s*(?:>>> ?|\.\.\.(?: |$)|In \[\d+\]: ?)?")
_HEAD = re.compile(r"(?:async )?(?:with|for|if|while|def|class)\b")  # of a block, whose body is read line by line
_STATES = re.compile(r"[(={]|\bimport\b")  # what a statement that sets, loads, imports or prints has

_TEMPLATE = re.compile(r"\{\{|\{%|</?[a-z]+[ >/]")  # of a page, and marks of HTML: no Python


@dataclass(frozen=True)
class Statements:
    """Statements that were parsed together, and where they stand in their text."""

    tree: ast.Module
    text: str
    starts: Sequence[int]  # of their lines behind indent and prompt, characters into the text

    def place(self, first: ast.AST, last: ast.AST | None = None) -> tuple[int, int]:
        """(start, end) in the text of a node, or from one to another; nodes have places in the tree."""
        last = last or first
        begin: tuple[int, int] = (first.lineno, first.col_offset)  # type: ignore[attr-defined]
        end: tuple[int, int] = (last.end_lineno, last.end_col_offset)  # type: ignore[attr-defined]
        return self._position(*begin), self._position(*end)

    def written(self, node: ast.AST) -> str:
        """A node as it stands in the text."""
        return self.text[slice(*self.place(node))]

    def _position(self, line: int, column: int) -> int:
        """A place in the text; columns count bytes of UTF-8."""
        start = self.starts[line - 1]
        rest = self.text[start:].partition("\n")[0].encode()
        return start + len(rest[:column].decode(errors="ignore"))


def statements_of(text: str) -> Iterator[Statements]:
    """What can be parsed of a text, in reading order."""
    lines = [(match.start(), match[0]) for match in re.finditer(r"[^\n]*\n?", text) if match[0]]
    following = 0
    for i in range(len(lines)):
        if i < following:
            continue
        for last in range(i, min(i + MOST_LINES, len(lines))):
            source, starts = _dedented(lines[i : last + 1])
            if len(source) > MOST_CHARS:
                break
            if tree := _parsed(source):
                following = last + 1
                yield Statements(tree, text, starts)
                break
            if sum(map(source.count, "([{")) <= sum(map(source.count, ")]}")):
                break


def _dedented(lines: Sequence[tuple[int, str]]) -> tuple[str, list[int]]:
    """A statement's lines without prompts and the first one's indent, and where each begins in the text."""
    indent = None
    kept, starts = [], []
    for start, line in lines:
        prompt = _PROMPT.match(line)
        cut = len(prompt[0]) if prompt else 0
        indent = cut if indent is None else indent
        cut = cut if line.lstrip().startswith((">>>", "...")) else min(cut, indent)
        kept.append(line[cut:].rstrip("\n"))
        starts.append(start + cut)
    return "\n".join(kept).replace("\r", " "), starts  # to Python a carriage return ends a line


def _parsed(source: str) -> ast.Module | None:
    bare = source.strip()
    if not _STATES.search(bare) or _TEMPLATE.search(bare):
        return None
    opened = f"{source} pass" if bare.endswith(":") and _HEAD.match(bare) else source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes in strings
        try:
            return ast.parse(opened)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
