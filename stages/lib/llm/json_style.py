"""How JSON that a schema binds is written: as json.dumps does, on one line.

Where a grammar allows blanks anywhere, a weak model writes blanks to the end of its budget.
"""

from typing import Any

STYLE: dict[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def on_one_line(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with llguidance's own key for its writing style."""
    return schema | {"x-guidance": STYLE}
