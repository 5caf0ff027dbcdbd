"""Who gets which place of an engine, in which order, and whose prompt comes with it."""

import threading
from collections.abc import Generator
from typing import Any

from stages.lib.chat.events import Queued
from stages.lib.chat.places import Place, Places


def taken(places: Places, conversation: str) -> Place:
    """The place, which is free."""
    try:
        next(places.take(conversation, threading.Event()))
    except StopIteration as end:
        assert isinstance(end.value, Place)
        return end.value
    raise AssertionError("no place is free")


def returned(generator: Generator[Queued, None, Any]) -> Any:
    """What a generator returns when it yields nothing more."""
    try:
        next(generator)
    except StopIteration as end:
        return end.value
    raise AssertionError("it yields")


def test_what_a_place_holds_comes_back_to_its_own_conversation_alone() -> None:
    places = Places(2)
    ann = taken(places, "ann")
    ann.tokens = [1, 2, 3]
    places.give_back(ann)
    bob = taken(places, "bob")
    assert (bob.number, bob.tokens) == (1, [])  # the unused one, though ann's is free
    again = taken(places, "ann")
    assert (again.number, again.tokens) == (0, [1, 2, 3])
    places.give_back(again)
    places.give_back(bob)
    cid = taken(places, "cid")
    assert (cid.number, cid.tokens, cid.conversation) == (0, [], "cid")  # the one unused for longest
    places.give_back(cid)
    assert taken(places, "ann").tokens == []


def test_a_conversation_without_a_name_keeps_nothing() -> None:
    places = Places(1)
    place = taken(places, "")
    place.tokens = [1, 2, 3]
    places.give_back(place)
    assert taken(places, "").tokens == []


def test_who_comes_first_is_served_first_and_is_told_how_many_wait() -> None:
    places = Places(1)
    place = taken(places, "ann")
    first, second = places.take("bob", threading.Event()), places.take("cid", threading.Event())
    assert (next(first), next(second)) == (Queued(0), Queued(1))
    places.give_back(place)
    bob = returned(first)
    assert bob.conversation == "bob"
    assert next(second) == Queued(0)  # it moves up
    places.give_back(bob)
    assert returned(second).conversation == "cid"


def test_who_leaves_or_is_stopped_holds_nobody_up() -> None:
    places, stop = Places(1), threading.Event()
    place = taken(places, "ann")
    leaving, stopped, staying = (
        places.take(name, stop_)
        for name, stop_ in (("bob", threading.Event()), ("cid", stop), ("dan", threading.Event()))
    )
    assert [next(leaving), next(stopped), next(staying)] == [Queued(0), Queued(1), Queued(2)]
    leaving.close()
    stop.set()
    assert returned(stopped) is None
    places.give_back(place)
    assert returned(staying).conversation == "dan"
