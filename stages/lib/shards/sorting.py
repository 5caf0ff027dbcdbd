"""Documents into the two splits: duplicates out, counted, and an error that says what to change where one is empty."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never

from stages.lib.reading.documents import Document, DocumentOrDrop, Drop, duplicate_key
from stages.lib.reading.drop_advice import dropped_text, keys_told, lacking
from stages.lib.shards.reading import SPLITS, ShardSplit
from stages.lib.shards.splitting import LEAST_PART, SplitBy, make_splitting
from stages.lib.shards.writing import Sorted


class Item(NamedTuple):
    """What a source gave, the number of its name, and whether it is one thing that is not to be cut (an example)."""

    content: DocumentOrDrop
    source: int
    whole: bool


@dataclass
class Tally:
    """What a run counts, for the metrics."""

    by: SplitBy  # how documents are split
    documents: int = 0  # that came in
    kept: int = 0
    whole: int = 0  # of those kept: not to be cut
    cut: int = 0  # of those kept: in both splits
    dropped: Counter[str] = field(default_factory=Counter)  # by reason
    lacking: Counter[tuple[str, str]] = field(default_factory=Counter)  # of them: by the keys sought and found
    parts: Counter[ShardSplit] = field(default_factory=Counter)  # documents, or parts of them, by split
    characters: Counter[ShardSplit] = field(default_factory=Counter)  # by split
    by_source: Counter[tuple[int, ShardSplit]] = field(default_factory=Counter)  # parts, by number of their source


def sort_documents(items: Iterator[Item], val_fraction: float, tally: Tally) -> Iterator[Sorted | Drop]:
    """Every document, or part of one, in its split, or the drop that a text which came before is; counts them."""
    seen: set[bytes] = set()
    splitting = make_splitting(tally.by, val_fraction)
    for item, source, whole in items:
        tally.documents += 1
        drop = item
        if isinstance(item, Document):
            key = duplicate_key(item.text)
            if key not in seen:
                seen.add(key)
                parts = splitting.parts(item.text, key, whole)
                tally.kept += 1
                tally.whole += whole
                tally.cut += len(parts) > 1
                for split, text in parts:
                    yield Sorted(split, tally.parts[split], text, source)
                    tally.parts[split] += 1
                    tally.characters[split] += len(text)
                    tally.by_source[source, split] += 1
                continue
            drop = Drop(item.source, "duplicate_document", f"the text came before ({key.hex()[:12]})")
        assert isinstance(drop, Drop)
        tally.dropped[drop.reason] += 1
        tally.lacking.update(lacking([drop]))
        yield drop


def check_splits(tally: Tally, val_fraction: float) -> None:
    """Raises `ValueError` that says what was dropped and what to change when a split got nothing."""
    keys = keys_told(tally.lacking)
    lost = f"{tally.documents:,} came in; dropped: {dropped_text(tally.dropped)}{f'; {keys}' if keys else ''}"
    if not tally.kept:
        raise ValueError(f"no document is left ({lost})")
    for split in SPLITS:
        if not tally.parts[split]:
            none = "the only document is not" if tally.kept == 1 else f"none of the {tally.kept:,} documents is"
            raise ValueError(f"{none} in the split {split!r} ({lost}): {_advice(tally, split, val_fraction)}")


def _advice(tally: Tally, split: ShardSplit, val_fraction: float) -> str:
    other = f"{'raise' if split == 'val' else 'lower'} val_fraction ({val_fraction}), or give more text"
    match tally.by:
        case "documents":
            return f"set split: tokens, which takes the end of every document for validation, or {other}"
        case "tokens" if tally.kept == 1 and (tally.whole or tally.characters.total() < 2 * LEAST_PART):
            return "one example, or one text this short, cannot be on both sides: give more text"
        case "tokens":
            return f"only documents that give both sides {LEAST_PART} characters are cut: {other}"
        case _:
            assert_never(tally.by)
