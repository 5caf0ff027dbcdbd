"""The models that were asked so far: each is loaded once, for all people."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from app.models import NONE, ModelChoice
from stages.lib.chat.events import Stream


class _Later:
    """A stream that is loaded when something of it is needed, so that the quotes need not wait for it.

    Loading raises ValueError: weights that are absent or damaged.
    """

    def __init__(self, load: Callable[[], Stream | None]) -> None:
        self._load = load

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)


class OpenModels:
    """The models to choose from, and those of them that are loaded."""

    def __init__(self, choices: Sequence[ModelChoice], opening: Callable[[str], Stream | None]) -> None:
        """`choices`: the default first; `opening`: loads the model of a name, None for `none`."""
        self.choices = {choice.name: choice for choice in choices}
        self._opening = opening
        self._streams: dict[str, Stream | None] = {NONE: None}
        self._changing = threading.Lock()

    @property
    def default(self) -> ModelChoice:
        """The first."""
        return next(iter(self.choices.values()))

    def is_open(self, name: str) -> bool:
        """Whether asking it needs no loading."""
        return name in self._streams

    def stream(self, name: str) -> Stream | None:
        """The model of that name, which is loaded when it is first asked; None: the quotes stand alone.

        Raises:
            ValueError: no such choice.
        """
        if name not in self.choices:
            raise ValueError(f"there is no model {name!r} to choose")
        return None if name == NONE else cast(Stream, _Later(lambda: self._load(name)))

    def _load(self, name: str) -> Stream | None:
        with self._changing:
            if name not in self._streams:
                self._streams[name] = self._opening(name)
            return self._streams[name]

    def load_ahead(self) -> None:
        """Loads the default in a thread of its own; what is wrong with it is said to who asks it first."""

        def load() -> None:
            with suppress(ValueError, OSError):
                self._load(self.default.name)

        threading.Thread(target=load, daemon=True).start()

    def close(self) -> None:
        """Closes all."""
        with self._changing:
            for stream in filter(None, self._streams.values()):
                stream.close()
            self._streams = {NONE: None}
