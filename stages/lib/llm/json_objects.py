"""JSON objects in a model's replies: how a schema has them written, and how they are found.

A schema binds them to be written as json.dumps does, on one line: where a grammar allows blanks anywhere, a weak model
writes blanks to the end of its budget.
"""

import json
import re
from typing import Any

STYLE: dict[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def on_one_line(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with llguidance's own key for its writing style."""
    return schema | {"x-guidance": STYLE}


def find_json_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a reply, whatever stands around it (a code fence, a sentence)."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", text):
        try:
            found, _ = decoder.raw_decode(text, match.start())
        except json.JSONDecodeError:
            continue
        if isinstance(found, dict):
            return found
    return None
