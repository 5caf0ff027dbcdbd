"""Which premises are taken: as many true ones as false ones of each show, so that a question's form tells nothing.

A false premise that says "not" is taken with a true one that says "not", a false count with a true count, and both are
asked about in one form. What has no counterpart is left out, unless one of the two kinds is not wanted at all.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from stages.lib.chats.false_premises import Premises
from stages.lib.chats.qa_items import QAItem
from stages.lib.reading.documents import Drop
from stages.lib.statistics.drawing import drawn

Offers = Mapping[str, Premises | Drop]  # item's id -> its premises of one kind, by show

VARIETY = 4  # no show takes more than such a share of the wanted ones while there are others


@dataclass
class _Side:
    """One kind: what is offered, and what was taken."""

    offers: dict[str, Premises]
    order: list[str]  # the items' ids, drawn by hash
    wanted: int
    taken: dict[str, QAItem] = field(default_factory=dict)  # item's id -> the premise
    shows: Counter[str] = field(default_factory=Counter)  # of those taken
    by_show: dict[str, list[str]] = field(default_factory=dict)  # show -> items that have a premise of it, in order
    passed: Counter[tuple[str, bool]] = field(default_factory=Counter)  # items at the head of such a list

    def __post_init__(self) -> None:
        """Lists the items of each show."""
        for name in self.order:
            for show in self.offers[name]:
                self.by_show.setdefault(show, []).append(name)

    def next(self, show: str, other: Collection[str], avoided: str = "", chosen: Collection[str] = ()) -> str | None:
        """The next item that has a premise of that show and gave none yet; one not avoided, if there is.

        Args:
            show: what the premise shows.
            other: items that gave one to the other side: to be avoided. They only become more, as those taken here: a
                place in the list that was passed because of either is not looked at again.
            avoided: one more, of this call alone.
            chosen: of this call alone, not to be had.
        """
        names = self.by_show.get(show, [])
        for free in (True, False):  # of the other side's
            place = self.passed[show, free]
            while place < len(names) and (names[place] in self.taken or (free and names[place] in other)):
                place += 1
            self.passed[show, free] = place
            for name in islice(names, place, None):
                if name in self.taken or name in chosen or (free and (name in other or name == avoided)):
                    continue
                return name
        return None

    def take(self, name: str, show: str, form: int, pair: str = "") -> None:
        self.taken[name] = replace(self.offers[name][show].in_form(form), pair=pair)
        self.shows[show] += 1


def _side(kind: str, offers: Offers, wanted: int) -> _Side:
    found = {name: offer for name, offer in offers.items() if not isinstance(offer, Drop)}
    return _Side(found, drawn(f"premises {kind}", found), wanted)


def pair_premises(
    false: Offers, true: Offers, wanted_false: int, wanted_true: int
) -> tuple[list[QAItem | Drop], list[QAItem | Drop]]:
    """At most as many of both as are wanted, the same shows on both sides, each item at most once on a side.

    Returns one entry an item and kind: the premise, or why there is none: the offer's own drop, `over_share`, or
    `no_counterpart` (there is room for it, and no question of the other kind that looks like it).
    """
    left, right = _side("false", false, wanted_false), _side("true", true, wanted_true)
    shows = sorted({show for side in (left, right) for offer in side.offers.values() for show in offer})
    if wanted_false and wanted_true:
        supply = {show: min(_count(left, show), _count(right, show)) for show in shows}
        shows = sorted((show for show in shows if supply[show]), key=lambda show: (supply[show], show))
        for most in (-(-wanted_false // VARIETY), wanted_false):
            _take_pairs(left, right, shows, most)
    else:
        for side in (left, right):
            for number, name in enumerate(side.order[: side.wanted]):
                side.take(name, drawn(name, side.offers[name])[0], number)
    return _outcome(false, left), _outcome(true, right)


def _take_pairs(left: _Side, right: _Side, shows: Sequence[str], most: int) -> None:
    """Takes from the rarest show on: a false premise and as many true ones as their shares say."""
    for show in shows:
        while len(left.taken) < left.wanted and left.shows[show] < most:
            # So many true premises as belong to one false one more; several, or none, where the shares differ.
            owed = (len(left.taken) + 1) * right.wanted // left.wanted - len(right.taken)
            first = left.next(show, right.taken)
            found: list[str] = []
            while first and len(found) < owed and (other := right.next(show, left.taken, first, found)):
                found.append(other)
            if first is None or len(found) < owed:
                break
            form = len(left.taken)
            left.take(first, show, form, first)
            for other in found:
                right.take(other, show, form, first)


def _count(side: _Side, show: str) -> int:
    return sum(show in offer for offer in side.offers.values())


def _outcome(offers: Offers, side: _Side) -> list[QAItem | Drop]:
    reason = "over_share" if len(side.taken) >= side.wanted else "no_counterpart"
    found: list[QAItem | Drop] = []
    for name, offer in offers.items():
        if isinstance(offer, Drop) or name in side.taken:
            found.append(offer if isinstance(offer, Drop) else side.taken[name])
        else:
            first = next(iter(offer.values())).item
            found.append(Drop(first.id, reason, first.question))
    return found
