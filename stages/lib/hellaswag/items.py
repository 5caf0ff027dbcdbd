"""HellaSwag's items (Zellers et al. 2019, arXiv:1905.07830): from a file or the hub, and how a context is shown."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.lib.core.records import Record
from stages.lib.core.tracked import check_tracked
from stages.lib.reading.documents import Drop
from stages.lib.reading.hub import HubSource, hub_records
from stages.lib.reading.json_records import json_records

HUB = HubSource(
    kind="hub", name="Rowan/hellaswag", revision="218ec52e09a7e7462a5400043bb9a69a41d06b76", split="validation"
)
object.__setattr__(HUB, "key", "hellaswag: hub")
ENDINGS = 4
_MAX_BYTES = 1_000_000  # of a line


@dataclass(frozen=True)
class HellaSwagItem:
    """A context, its four endings, and which of them is right."""

    activity_label: str
    ctx: str
    ctx_parts: tuple[str, str] | None  # ctx_a and ctx_b; None where the file has only `ctx`
    endings: tuple[str, ...]
    label: int


def load_items(source: str | Path, limit: int = 0) -> tuple[list[HellaSwagItem], Counter[str]]:
    """Items of a JSONL file of the upstream schema, or of the hub's validation split at its pin (`source` is "hub").

    `ctx_a` and `ctx_b` may be absent: `ctx` stands for both then, and ctx_b's first letter stays small.

    Args:
        source: "hub" or a path.
        limit: items at most; 0: all.

    Returns:
        The items, and the number of broken records by reason.

    Raises:
        ValueError: no such file, one that DVC does not track, or not one usable item in it.
    """
    if str(source) != "hub" and not Path(source).is_file():
        raise ValueError(f"{source}: no such file; name a HellaSwag file of the upstream schema, or `hub`")
    if str(source) != "hub":
        check_tracked([Path(source)], f"hellaswag {str(source)!r}")
    records = _hub() if str(source) == "hub" else json_records(Path(source), _MAX_BYTES)
    items: list[HellaSwagItem] = []
    dropped: Counter[str] = Counter()
    first: Drop | None = None
    for found in records:
        item = found if isinstance(found, Drop) else as_hellaswag_item(*found)
        if isinstance(item, Drop):
            first = first or item
            dropped[item.reason] += 1
        else:
            items.append(item)
            if len(items) == limit:
                break
    if not items:
        seen = (
            f"; the first of {dropped.total()} dropped: {first.source}: {first.reason} {first.detail}" if first else ""
        )
        raise ValueError(f"{source}: holds no usable HellaSwag item{seen}")
    return items, dropped


def _hub() -> Iterator[tuple[str, Record]]:
    for number, record in enumerate(hub_records(HUB)):
        yield f"{HUB.name}[{number}]", record


def as_hellaswag_item(where: str, record: Record) -> HellaSwagItem | Drop:
    """The item in a record of the upstream schema or of lm-evaluation-harness's own, or the drop that it is.

    `ctx` may be absent where ctx_a and ctx_b are there, and ctx_b null. Of the harness's `query`, `choices`, `gold`,
    which are cleaned, the query's beginning is the activity label. Reasons: `no_label` (also the empty one of the test
    split), `not_four_endings`, `empty_ending` (before or after cleaning), `no_context`, `no_activity_label` (by which
    one of the two ways reads the context).
    """
    label, endings = record.get("label", record.get("gold")), record.get("endings", record.get("choices"))
    right = _label(label)
    if right is None:
        return Drop(where, "no_label", f"expected 0..3, found {label!r} under label or gold")
    if not isinstance(endings, list) or len(endings) != ENDINGS or not all(isinstance(e, str) for e in endings):
        return Drop(where, "not_four_endings", f"under endings or choices; found {str(endings)[:80]!r}")
    if not all(clean(ending).strip() for ending in endings):
        return Drop(where, "empty_ending", f"number {[not clean(ending).strip() for ending in endings].index(True)}")
    context, parts = _context(record)
    activity = record.get("activity_label")
    if not context and isinstance(query := record.get("query"), str):
        activity, _, context = query.partition(": ")
    if not context.strip():
        keys = "ctx, ctx_a or query"
        return Drop(where, "no_context", f"looked for {keys}; found the keys {', '.join(map(str, record))}")
    if not isinstance(activity, str):
        return Drop(where, "no_activity_label", f"found {activity!r}")
    return HellaSwagItem(activity, context, parts, tuple(endings), right)


def _label(label: object) -> int | None:
    """0..3 of a number or a text, whole also as a float (tables without a label in some row hold floats)."""
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        return None
    try:
        number = float(label)
    except ValueError:
        return None
    return int(number) if number in range(ENDINGS) else None


def _context(record: Record) -> tuple[str, tuple[str, str] | None]:
    """The whole context, "" where there is none, and its two parts; None: the whole stands for both."""
    whole, first, second = record.get("ctx"), record.get("ctx_a"), record.get("ctx_b")
    if not isinstance(first, str) or not isinstance(second, str | None):
        return (whole if isinstance(whole, str) else ""), None
    both = (first, second or "")
    if whole is None:
        return " ".join(part for part in both if part.strip()), both
    # Without a second part the first is all of it, or the parts are not those of this context.
    return (whole if isinstance(whole, str) else ""), both if isinstance(second, str) or first == whole else None


def clean(text: str) -> str:
    """lm-evaluation-harness's `preprocess`: WikiHow's [title] begins a sentence, other bracketed markers go."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def query(item: HellaSwagItem) -> str:
    """The context that lm-evaluation-harness shows."""
    context = item.ctx if item.ctx_parts is None else f"{item.ctx_parts[0]} {item.ctx_parts[1].capitalize()}"
    return clean(f"{item.activity_label}: {context}")
