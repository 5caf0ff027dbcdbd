"""Entries of parameter lists, `name (type, defaults to value): description`, and other values for what they state."""

import math
import re

from stages.lib.chats.qa_items import QAItem
from stages.lib.statistics.drawing import drawn

NUMBER = re.compile(r"(?<![\w.`/\-=<>*(])(?<!\d,)\d+(?:\.\d+)?(?![\w`/]|[.,\-]\d)")
_ENTRY = re.compile(r"^`?(?P<name>[A-Za-z_][\w.]*)`?\s*(?:\((?P<type>[^\n]*?)\))?\s*:")
_DEFAULT = re.compile(r"\b[Dd]efaults?(?: value)?(?: to| is|\s*[:=])\s*[`\"']*(?P<value>[^\s`\"'),]+)")


def parameter_name(item: QAItem) -> str:
    """The parameter whose entry the item's evidence is; "" where it is prose."""
    match = _ENTRY.match(item.evidence)
    return match["name"] if match and (match["type"] is not None or "_" in match["name"]) else ""


def default_value(evidence: str) -> str:
    """The default that a parameter's entry states; "" if it states none."""
    match = _DEFAULT.search(evidence)
    return match["value"].rstrip(".") if match else ""


def other_value(value: str, name: str, limit: float = math.inf) -> str | None:
    """A value of the same kind, at most `limit`, that is another one; None for kinds that we cannot change.

    True and False change places, years move by a few, other numbers are scaled; which way is drawn by hash of `name`.
    """
    if value in ("True", "False"):
        return "False" if value == "True" else "True"
    if not NUMBER.fullmatch(value):
        return None
    if "." in value:
        digits = len(value.partition(".")[2])
        others = [f"{float(value) * factor:.{digits + 1}f}".rstrip("0").rstrip(".") for factor in (0.5, 2, 4, 5)]
    elif 1900 <= int(value) <= 2099:
        others = [str(int(value) + step) for step in (-7, -4, -2, 2, 3)]
    elif int(value) < 10:
        others = [str(int(value) + step) for step in (1, 2, 3)]
    else:
        others = [str(int(value) * 2), str(int(value) * 10), str(int(value) // 2)]
    possible = [other for other in others if other != value and float(other) <= limit]
    return drawn(name, possible)[0] if possible else None


def instead_of_none(item: QAItem) -> str | None:
    """A default that fits the type of an entry whose default is None; None for types that we know no value of."""
    match = _ENTRY.match(item.evidence)
    types = (match["type"] or "").lower() if match else ""
    for named, values in (("bool", ["True"]), ("float", ["0.1", "0.5", "1.0"]), ("int", ["4", "8", "16"])):
        if named in types:
            return drawn(item.id, values)[0]
    return None
