"""Which premises are taken: as many of each show on both sides."""

import random
from collections import Counter
from collections.abc import Collection

import pytest

from stages.lib.chats.false_premises import Premise
from stages.lib.chats.premise_pairs import Offers, _Side, pair_premises
from stages.lib.chats.qa_items import Change, Kind, QAItem
from stages.lib.reading.documents import Drop


def premise(kind: Kind, name: str, show: str) -> QAItem:
    change = Change(type="number", true="1", false="2") if kind == "false_premise" else None
    return QAItem(
        id=f"{kind}:{name}:{show}", kind=kind, source=name, context="c", question="q", answer="a", made_by="rules",
        change=change, question_of=name,
    )  # fmt: skip


def offers(kind: Kind, shows: dict[str, list[str]]) -> Offers:
    return {
        name: {show: Premise(premise(kind, name, show), f"{name} is {show}") for show in found} or Drop(name, "none")
        for name, found in shows.items()
    }


def taken(found: list[QAItem | Drop]) -> Counter[str]:
    return Counter(one.id.rsplit(":", 1)[1] for one in found if isinstance(one, QAItem))


def test_both_sides_have_the_same_shows() -> None:
    # All have a "not" on the false side and a "yes" on the true one; few have the other way round.
    false = {str(i): ["not", "count"] if i % 2 else ["not"] for i in range(60)} | {"60": ["yes"], "61": ["yes"]}
    true = {str(i): ["yes", "count"] if i % 2 else ["yes"] for i in range(60)} | {"60": ["not"], "61": ["not"]}
    found = pair_premises(offers("false_premise", false), offers("true_premise", true), 20, 20)
    assert taken(found[0]) == taken(found[1])
    assert taken(found[0]) == {"not": 2, "yes": 2, "count": 16}
    for side in found:
        assert len(side) == 62  # each item once, taken or dropped
        assert {one.reason for one in side if isinstance(one, Drop)} == {"over_share"}


def test_what_has_no_counterpart_is_left_out() -> None:
    false = {str(i): ["not"] for i in range(30)}
    true = {str(i): ["yes"] for i in range(30)} | {"x": []}
    found = pair_premises(offers("false_premise", false), offers("true_premise", true), 10, 10)
    assert not taken(found[0]) and not taken(found[1])
    assert {one.reason for one in found[0] if isinstance(one, Drop)} == {"no_counterpart"}
    assert Counter(one.reason for one in found[1] if isinstance(one, Drop)) == {"no_counterpart": 30, "none": 1}


def test_shares_that_differ_are_kept_in_their_ratio() -> None:
    false = {str(i): ["count", "name"] for i in range(60)}
    true = {str(i): ["count", "name"] for i in range(60)}
    found = pair_premises(offers("false_premise", false), offers("true_premise", true), 30, 10)
    assert (taken(found[0]).total(), taken(found[1]).total()) == (30, 10)
    found = pair_premises(offers("false_premise", false), offers("true_premise", true), 10, 30)
    assert (taken(found[0]).total(), taken(found[1]).total()) == (10, 30)
    for wanted in ((20, 0), (0, 20)):
        found = pair_premises(offers("false_premise", false), offers("true_premise", true), *wanted)
        assert (taken(found[0]).total(), taken(found[1]).total()) == wanted


def test_the_two_of_a_pair_come_from_different_items_where_there_are_enough() -> None:
    shows = {str(i): ["count"] for i in range(60)}
    found = pair_premises(offers("false_premise", shows), offers("true_premise", shows), 20, 20)
    names = [{one.source for one in side if isinstance(one, QAItem)} for side in found]
    assert not names[0] & names[1]


def test_the_choice_does_not_depend_on_the_order() -> None:
    shows = {str(i): ["count", "not"] if i % 3 else ["name"] for i in range(40)}
    turned = dict(reversed(shows.items()))
    outcomes = []
    for order in (shows, turned):
        found = pair_premises(offers("false_premise", order), offers("true_premise", order), 10, 10)
        outcomes.append([sorted(one.id for one in side if isinstance(one, QAItem)) for side in found])
    assert outcomes[0] == outcomes[1]


def test_both_sides_are_asked_about_in_the_same_forms() -> None:
    shows = {str(i): ["count"] if i % 2 else ["count", "not"] for i in range(60)}
    for wanted in ((24, 24), (12, 24)):
        found = pair_premises(offers("false_premise", shows), offers("true_premise", shows), *wanted)
        forms = [Counter(one.question.split()[0] for one in side if isinstance(one, QAItem)) for side in found]
        assert {form: count * wanted[1] // wanted[0] for form, count in forms[0].items()} == forms[1]
        assert len(forms[0]) >= 5


@pytest.mark.parametrize("seed", range(6))
def test_passing_over_changes_nothing_of_what_is_taken(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(
        side: _Side, show: str, other: Collection[str], avoided: str = "", chosen: Collection[str] = ()
    ) -> str | None:
        gone = {*side.taken, *chosen}
        free = [name for name in side.order if name not in gone and show in side.offers[name]]
        return next((name for name in free if name not in other and name != avoided), free[0] if free else None)

    rng = random.Random(seed)
    kinds: tuple[Kind, Kind] = ("false_premise", "true_premise")
    false, true = (
        offers(kind, {str(i): rng.sample(["not", "yes", "count", "name"], rng.randrange(4)) for i in range(80)})
        for kind in kinds
    )
    wanted = rng.randrange(10, 60), rng.randrange(10, 60)
    ours = pair_premises(false, true, *wanted)
    monkeypatch.setattr(_Side, "next", plain)
    assert ours == pair_premises(false, true, *wanted)
    assert taken(ours[0])
