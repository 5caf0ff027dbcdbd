"""What came in, what was kept, and what was dropped with its reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.lib.core.metrics import check_counts
from stages.lib.core.records import Record
from stages.lib.reading.documents import Drop


@dataclass
class Account:
    """Counts that add up, and the drops behind them."""

    counts: dict[str, Any] = field(default_factory=dict)
    dropped: list[Record] = field(default_factory=list)

    def enter(self, name: str, kept: int, drops: Sequence[Drop]) -> None:
        """Adds one line of counts, and its drops."""
        self.counts[name] = check_counts(kept + len(drops), kept, dict(Counter(drop.reason for drop in drops)))
        self.dropped += [{"set": name, "id": d.source, "reason": d.reason, "detail": d.detail} for d in drops]


def sorted_counts(counts: Counter[Any]) -> dict[str, int]:
    """The counts by name, so that files do not depend on the order of what was counted."""
    return {str(name): counts[name] for name in sorted(counts)}
