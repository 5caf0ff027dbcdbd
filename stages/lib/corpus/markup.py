"""Markdown files as their readers see them: without front matter, and MDX without its imports and tags."""

import re
from itertools import groupby

MARKDOWN_SUFFIXES = (".md", ".mdx", ".markdown")
_FRONT = re.compile(
    r"---[ \t]*\n(?P<fields>(?=[\w\"'-][^\n:]*:|#|---).*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_FIELD = re.compile(r"[\w\"'-][^\n:]*:(?:\s|$)|[ \t]|-[ \t]|#|$")  # a line of YAML's mappings, or the rest of one
_FRONT_TITLE = re.compile(r"^title:[ \t]*(?P<quote>[\"']?)(?P<title>\S.*?)(?P=quote)[ \t]*$", re.MULTILINE)
_TITLE = re.compile(r"^ {0,3}#[ \t]+\S|^ {0,3}\S[^\n]*\n {0,3}={2,}[ \t]*$", re.MULTILINE)
_FENCE = re.compile(r"[ \t]*(?P<mark>`{3,}|~{3,})(?P<info>.*)")
_MODULE = re.compile(
    r"import\s[^\n]*?(?:from\s*)?[\"'][^\"'\n]+[\"']\s*;?\s*$|import\s*\{|export\s+(?:default\b|const\s|let\s|function\b|\{)"
)
_TAG = (
    r"(?:</?[A-Z][\w.]*(?:\s+[\w:.-]+(?:=(?:\"[^\"<>]*\"|'[^'<>]*'|\{(?:[^{}]|\{[^{}]*\})*\}))?)*\s*/?>"
    r"|<>|</>|\{/\*.*?\*/\})"
)
_TAGS = re.compile(rf"^[ \t]*(?:{_TAG}[ \t]*)+$", re.MULTILINE | re.DOTALL)  # lines of nothing but tags and comments
_BLANKS = re.compile(r"\n(?:[ \t]*\n){2,}")


def as_shown(text: str, suffix: str) -> str:
    """A file's text without what is no text; line ends are `\\n`.

    Front matter goes, but for its title, which becomes the heading of a text without one. Of MDX go imports, exports,
    comments, and lines that hold nothing but tags of components. Fenced code stays as it is.
    """
    title = ""
    front = _FRONT.match(text)
    if front and all(_FIELD.match(line) for line in front["fields"].splitlines()):
        text = text[front.end() :].lstrip("\n")
        named = _FRONT_TITLE.search(front["fields"])
        title = named["title"] if named else ""
    parts = _parts(text)
    if suffix == ".mdx":
        text = "".join(part if fenced else _prose(part) for fenced, part in parts).strip("\n") + "\n"
    if title and not any(_TITLE.search(part) for fenced, part in parts if not fenced):
        text = f"# {title}\n\n{text}"
    return text


def _parts(text: str) -> list[tuple[bool, str]]:
    """The text in pieces: whether it is a fenced block of code, and the piece."""
    opened = ""  # the mark of the block that is open
    lines: list[tuple[bool, str]] = []
    for line in text.splitlines(keepends=True) if "\n" in text else [text]:
        fence = _FENCE.match(line)
        if fence and not opened and not (fence["mark"][0] == "`" and "`" in fence["info"]):
            opened = fence["mark"]
            lines.append((True, line))
        else:
            lines.append((bool(opened), line))
            if fence and opened and fence["mark"].startswith(opened) and not fence["info"].strip():
                opened = ""
    return [(fenced, "".join(line for _, line in group)) for fenced, group in groupby(lines, key=lambda line: line[0])]


def _prose(text: str) -> str:
    kept: list[str] = []
    depth = 0  # open braces of an import or export over several lines
    for line in text.split("\n"):
        if depth > 0 or _MODULE.match(line):
            depth = max(0, depth + line.count("{") - line.count("}")) if line.strip() else 0
            continue
        kept.append(line)
    return _BLANKS.sub("\n\n", _TAGS.sub("", "\n".join(kept)))
