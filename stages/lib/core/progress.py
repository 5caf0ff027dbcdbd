"""What a person sees move: where a stage is, how fast it goes, and when it will be done. On stderr, by tqdm.

On a terminal these are tqdm's bars, the stage's own line above them; what is printed meanwhile stands above all. In a
log (a file, CI: no terminal) carriage returns would make one endless line. There whole lines come: one when a part of
the stage begins, one soon after with the first rate, then one every LOG_SECONDS, also while nothing is counted.

    grpo 5/8 train [01:10<04:30] | step:  35% 14/40 [01:00<02:11,  5.0s/step] | reply tokens: 98 [00:01, 98token/s]

That is: the fifth part of eight, a minute since the stage began and four and a half to its end, as far as its last run
on this machine tells (timings/; ? where it cannot), then each bar from the outermost in.

A stage calls `begin` before its heavy imports, and `Stopwatch` tells what part it is in. `bar` counts wherever it is
called; `detail`, `each` and `doing` are for library code that the page uses as well: they show in a stage alone.
"""

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from functools import partialmethod
from typing import Any, TextIO, TypeVar

from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile

from stages.lib.core.process import share_the_machine
from stages.lib.core.stage_place import StagePlace, usual_seconds

LOG_SECONDS = 5.0  # between two lines of a log
FIRST_SECONDS = 1.5  # after which the first bar of a part has a rate to tell
TICK_SECONDS = 1.0  # between two looks, on a terminal between two refreshes
IMPORTS = "imports"  # the first part of every stage

T = TypeVar("T")


class Bar(tqdm):  # type: ignore[type-arg]  # of no iterable
    """A bar of tqdm's on a terminal; for a log a counter that draws nothing by itself."""

    monitor_interval = 0  # the ticker refreshes bars, those too that nobody counts on

    def __init__(self, what: str, total: float | None, **settings: Any) -> None:
        """Shown from now on, inside of those that are shown already; `settings` are tqdm's."""
        stream = _state.stream or sys.stderr
        self.in_log = not on_terminal(stream)
        log: dict[str, Any] = {"ncols": 0, "mininterval": 0.5, "leave": False}
        terminal: dict[str, Any] = {"dynamic_ncols": True, "leave": None}  # None: the outermost one alone stays
        shape = log if self.in_log else terminal
        super().__init__(desc=what, total=total, file=stream, disable=False, **(shape | settings))
        self.began = time.monotonic()
        _state.add(self)

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        """Draws the bar, or `msg` in its place; whether it did."""
        return not self.in_log and super().display(msg, pos)

    def clear(self, nolock: bool = False) -> None:
        """Takes what is drawn away."""
        if not self.in_log:
            super().clear(nolock)

    def close(self) -> None:
        """Ends it; in a log with a line, where it took long."""
        if not getattr(self, "disable", True):
            _state.remove(self)
        super().close()

    def seconds_left(self) -> float | None:
        """By the rate so far; None where nothing was counted yet, or the total is not known."""
        told = self.format_dict
        rate = told["rate"] or (self.n - self.initial) / max(told["elapsed"], 1e-9)  # the latest, or the mean
        return (self.total - self.n) / rate if self.total and rate else None


class _Above(DummyTqdmFile):
    """What is printed while bars are shown: stands above them."""

    def __eq__(self, other: object) -> bool:
        """By this tqdm knows which bars to take away meanwhile."""
        return bool(self._wrapped == getattr(other, "_wrapped", other))

    __hash__ = object.__hash__


class Silent:
    """A counter that nobody sees."""

    def update(self, n: float = 1) -> None:
        """Counts."""

    def close(self) -> None:
        """Ends it."""

    def set_description_str(self, desc: str | None = None, refresh: bool = True) -> None:
        """Names it."""

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Says something of it."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None:
        pass


Counter = Bar | Silent


class _State:
    """All that is shown by this process; one lock over it, which nobody takes who holds tqdm's."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Nothing is shown; also in a forked process, which has no ticker and whose lock may be held for ever."""
        self.lock = threading.RLock()
        self.bars: list[Bar] = []
        self.stage: StagePlace | None = None
        self.header: Bar | None = None  # the stage's line on a terminal
        self.stream: TextIO | None = None  # stderr as it was when the stage began
        self.due = 0.0  # when the next line of a log is
        self.last = 0.0  # when the last one was
        self.waits_for_rate = True
        self.over: threading.Event | None = None  # ends the ticker

    def add(self, bar: Bar) -> None:
        with self.lock:
            self.bars.append(bar)
            self.start_ticker()
            if self.waits_for_rate:  # of a part, or where no stage has begun
                self.tell()
                self.due = min(self.due, time.monotonic() + FIRST_SECONDS)
                self.waits_for_rate = False

    def remove(self, bar: Bar) -> None:
        with self.lock:
            if bar.in_log and time.monotonic() - bar.began >= LOG_SECONDS:
                self.due = 0.0
                self.tell()
            self.bars = [one for one in self.bars if one is not bar]  # tqdm's are equal by their place
            if not self.bars and self.stage is None:
                self.stop_ticker()

    def enter_part(self) -> None:
        """A line at once, but no two within a tick: parts that take no time are none to tell of."""
        self.waits_for_rate = True
        self.due = min(self.due, self.last + TICK_SECONDS)
        self.tell()

    def tell(self) -> None:
        with self.lock:
            inner = [bar for bar in self.bars if bar is not self.header]
            told = self.stage.told(inner[0].seconds_left() if inner else None) if self.stage else ""
            if self.header is not None:
                self.header.set_description_str(told, refresh=False)
            for bar in self.bars:
                bar.refresh()
            now = time.monotonic()
            lines = [str(bar) for bar in inner if bar.in_log]
            if self.header is not None or now < self.due or not (told or lines):
                return
            self.last, self.due = now, now + LOG_SECONDS
            stream = self.stream or sys.stderr
            stream.write(" | ".join([told] * bool(told) + lines) + "\n")
            stream.flush()

    def start_ticker(self) -> None:
        if self.over is None:
            self.over = threading.Event()
            threading.Thread(target=self._tick, args=(self.over,), name="progress", daemon=True).start()

    def stop_ticker(self) -> None:
        if self.over is not None:
            self.over.set()
            self.over, self.due, self.waits_for_rate = None, 0.0, True

    def _tick(self, over: threading.Event) -> None:
        while not over.wait(TICK_SECONDS):
            try:
                self.tell()
            except (OSError, ValueError):  # nobody reads stderr any more: no reason to stop the work
                return


_state = _State()
os.register_at_fork(after_in_child=_state.reset)


def on_terminal(stream: TextIO) -> bool:
    """Whether lines can be drawn over, and how long they may be is known."""
    dumb = not stream.isatty() or os.environ.get("TERM") == "dumb"
    return not dumb and os.get_terminal_size(stream.fileno()).columns > 0


def begin(stage: str, parts: Sequence[str]) -> None:
    """Says that a stage has begun; from now on something moves, until the process ends.

    Of several processes of torchrun's the first one speaks.

    Args:
        stage: its name; the loop values are the arguments of the command line.
        parts: the laps of its stopwatch in their order, one that comes twice twice.
    """
    share_the_machine()
    if int(os.environ.get("RANK", "0")):
        return
    # Bars of libraries would be drawn over ours, and make endless lines in a log: silent unless they ask to be shown.
    tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)  # type: ignore[assignment,method-assign]
    names = [stage, *sys.argv[1:]]
    _state.stream = sys.stderr
    if on_terminal(sys.stderr):
        _state.header = Bar("", None, bar_format="{desc}", leave=False)
        sys.stdout, sys.stderr = _Above(sys.stdout), _Above(sys.stderr)
    _state.stage = StagePlace(" ".join(names), [IMPORTS, *parts], usual_seconds("_".join(names)))
    _state.start_ticker()
    _state.enter_part()
    atexit.register(end)


def plan(parts: Sequence[str]) -> None:
    """The parts of the stage that has begun, where they depend on its params."""
    if _state.stage is not None:
        _state.stage.parts = [IMPORTS, *parts]


def end() -> None:
    """Takes down what is shown: the process ends, or another program takes its place."""
    _state.stop_ticker()
    for bar in reversed(_state.bars.copy()):
        bar.close()
    if _state.header is not None:
        sys.stdout, sys.stderr = (getattr(stream, "_wrapped", stream) for stream in (sys.stdout, sys.stderr))
    _state.stage = _state.header = _state.stream = None


def past_imports(default: float) -> float:
    """The imports are done; `time.perf_counter()` of when the stage began, or `default` where none has."""
    part_ended(IMPORTS)
    return default if _state.stage is None else _state.stage.began


def part_ended(part: str) -> None:
    """A part of the stage is done; the next one begins."""
    if _state.stage is not None:
        with _state.lock:
            _state.stage.end_part(part)
            _state.enter_part()


def say(line: str) -> None:
    """A line on stderr, above the bars."""
    Bar.write(line, file=_state.stream or sys.stderr)


def bar(what: str | None, total: float | None, unit: str, **settings: Any) -> Counter:
    """Counts something to `total` (None: not known) in a `with`; `what` None: silently. `settings` are tqdm's."""
    return Silent() if what is None else Bar(what, total, unit=unit, **settings)


def detail(what: str, total: float | None, unit: str, **settings: Any) -> Counter:
    """`bar`, but silent where no stage has begun."""
    return bar(what if _state.stage else None, total, unit, **settings)


def each(
    items: Iterable[T], what: str, unit: str, total: float | None = None, size: Callable[[T], float] = lambda _: 1
) -> Iterator[T]:
    """The items one by one, counted by a `detail` when what was done with them is done.

    `total`: None: as many as there are, where the items have a length; `size`: how much of it an item is.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with detail(what, total, unit) as counter:
        for item in items:
            yield item
            counter.update(size(item))


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Says what is going on and for how long, where nothing can be counted; in a stage alone.

    Around a block, or as the decorator of a function.
    """
    with detail(what, None, "", bar_format="{desc} [{elapsed}]"):
        yield
