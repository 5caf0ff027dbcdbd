"""The places of an engine: how many people it answers at once, who waits, and whose prompt each place still holds."""

import threading
from collections.abc import Generator
from dataclasses import dataclass, field

from stages.lib.chat.events import Queued

CHECK_SECONDS = 0.05  # how often one who waits looks whether it was stopped


@dataclass
class Place:
    """A slot of the engine."""

    number: int
    conversation: str = ""  # whose prompt it holds
    tokens: list[int] = field(default_factory=list)  # of that prompt, as far as it is known to be read


class Places:
    """Gives places to requests in the order of their coming."""

    def __init__(self, count: int) -> None:
        self._free = [Place(number) for number in range(count)]  # least recently used first
        self._waiting: list[object] = []
        self._changed = threading.Condition()

    def take(self, conversation: str, stop: threading.Event) -> Generator[Queued, None, Place | None]:
        """Waits for a place and returns it, None if `stop` came first; says meanwhile how many wait before.

        A place comes with its tokens only to the conversation that left them there.
        """
        ticket = object()
        said: int | None = None
        with self._changed:
            self._waiting.append(ticket)
        try:
            while not stop.is_set():
                with self._changed:
                    ahead = self._waiting.index(ticket)
                    if ahead < len(self._free):
                        return self._pick(conversation)
                    if ahead == said:
                        self._changed.wait(CHECK_SECONDS)
                        continue
                said = ahead
                yield Queued(ahead)
            return None
        finally:
            with self._changed:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def give_back(self, place: Place) -> None:
        """Lets the next one in."""
        with self._changed:
            self._free.append(place)
            self._changed.notify_all()

    def _pick(self, conversation: str) -> Place:
        own = [place for place in self._free if conversation and place.conversation == conversation]
        unused = [place for place in self._free if not place.conversation]
        place = [*own, *unused, *self._free][0]
        self._free.remove(place)
        if not own:
            place.conversation, place.tokens = conversation, []
        return place
