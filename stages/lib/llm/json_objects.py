"""The JSON object in a model's reply."""

import json
import re
from typing import Any


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
