"""JSON objects in a model's replies: how a schema has them written, and how they are found.

A schema binds them to be written as json.dumps does, on one line: where a grammar allows blanks anywhere, a weak model
writes blanks to the end of its budget.

Of several objects the last one with the wanted keys counts: what stands before it is an echo of the schema, an example
or a draft. What is not quite JSON (a trailing comma, single quotes, a quote within quotes) is repaired by json_repair;
since that makes an object of any text with a brace, a repaired object counts only with the wanted keys and types.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from stages.lib.replies.thinking import after_thinking

STYLE: dict[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
Keys = Mapping[str, tuple[type, ...]]  # the keys that an object must have, with the types of their values

_STRICT = json.JSONDecoder(strict=False)  # takes line breaks within strings
_ENDED = re.compile(r"(?:[\"'”`\]]|[:=]\s*(?:[-+]?[\d.]+|true|false|null|None|True|False))\s*(?:`{3}\s*)?$")


def on_one_line(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with llguidance's own key for its writing style."""
    return schema | {"x-guidance": STYLE}


def find_json_object(text: str, keys: Keys, complete: bool = True) -> dict[str, Any] | None:
    """The last JSON object with the keys in a reply, whatever stands around it (a code fence, a sentence, a draft).

    A key may differ in case (`Score`); it is found under the wanted name. `complete`: False for a reply that was cut
    off, whose broken end is not repaired.
    """
    text = after_thinking(text)
    found: dict[str, Any] | None = None
    place = 0
    for start, end, value in _objects(text):
        if complete:
            found = _repaired(text[place:start], keys) or found
        found = _with_keys(value, keys) or found
        place = end
    return (_repaired(text[place:], keys) if complete else None) or found


def names_key(text: str, key: str) -> bool:
    """Whether a text writes the key as JSON does, with quotes and a colon."""
    return re.search(rf"[\"'“”`]{key}[\"'“”`]\s*[:=]", text, re.IGNORECASE) is not None


def writable(text: str) -> str:
    """The text with question marks for halves of surrogate pairs, which JSON can spell and no file can hold."""
    return text.encode(errors="replace").decode()


def _objects(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(start, end, object) of each JSON object that is in no other one."""
    start = text.find("{")
    while start >= 0:
        try:
            value, end = _STRICT.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            end = start + 1
        else:
            yield start, end, value
        start = text.find("{", end)


def _with_keys(value: Any, keys: Keys) -> dict[str, Any] | None:
    """The object, or the last one within it, that has the keys."""
    if isinstance(value, dict):
        lower = {str(key).strip().lower(): part for key, part in value.items()} | value
        if all(key in lower and type(lower[key]) in types for key, types in keys.items()):
            return lower
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for part in reversed(list(parts)) if (found := _with_keys(part, keys))), None)


def _repaired(text: str, keys: Keys) -> dict[str, Any] | None:
    """What json_repair makes of the first brace after which it finds the keys."""
    if not all(re.search(rf"\b{key}\b", text, re.IGNORECASE) for key in keys):
        return None
    import json_repair

    for match in re.finditer(r"\{", text):
        broken = text[match.start() :].strip()
        if "}" not in broken and not _ENDED.search(broken):
            return None  # it ends within a string
        try:
            found = _with_keys(json_repair.loads(broken), keys)
        except (ValueError, RecursionError):
            continue
        if found and all(_is_written(broken, key, found[key]) for key in keys):
            return found
    return None


def _is_written(text: str, key: str, value: Any) -> bool:
    """Whether a number is what the text gives for the key: the repair reads 1 from `<1 to 5>`, and 4 from `4 or 5`."""
    if not isinstance(value, int | float):
        return True
    number = re.escape(str(value)) if not isinstance(value, bool) else str(value)
    return (
        re.search(rf"\b{key}\b\W{{0,3}}?[:=]\s*[\"'`+0]*{number}\s*(?:[,;)}}\]\"'`\n]|//|/\*|#|$)", text, re.IGNORECASE)
        is not None
    )
