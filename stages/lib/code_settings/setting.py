"""A name and the value that code gives it, and which values tell something."""

import re
from dataclasses import dataclass
from typing import Literal

SHORTEST, LONGEST = 3, 100  # characters of a string that tells something

Kind = Literal[
    "argument", "switch", "shown", "loaded", "passed", "imported", "variable", "base", "parameters", "default", "flag",
    "entry", "installed",
]  # fmt: skip
_PLACEHOLDER = re.compile(r"path/|/path|your|\bmy\b|my[-_]|[<>{}\n\\]|xxx|\.\.\.|foo|\bbar\b|^/|^\.|^https?:|^~")


@dataclass(frozen=True)
class Setting:
    """A name and the value that code gives it."""

    kind: Kind
    name: str  # of the argument, variable, flag, key, class or function; "" of what is loaded, passed or installed
    owner: str  # the function or class that is called, the command's script or tool; "" where the text does not show it
    value: str  # as it stands, without quotes; of what is imported its module, of a class its bases
    start: int  # of the value with its name, characters into the text
    end: int


def tells(value: str) -> bool:
    """Whether a string is worth asking for: neither very short nor long, no placeholder, no address."""
    return SHORTEST <= len(value) <= LONGEST and not _PLACEHOLDER.search(value)
