"""In which of its parts a stage is, and when it will be done, as far as its last run tells: here, or where we measured.

The first run on a machine has no run before it. Then the seconds of bench/usual_seconds.json stand in, which come with
the repository (`python -m bench.graph --save`): what the default took on two cores. The first thing that is counted
corrects them.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

TIMINGS_DIR = Path("timings")
MEASURED = Path("bench/usual_seconds.json")  # stage -> part -> seconds


@dataclass
class StagePlace:
    """A stage that runs, and where it is."""

    name: str  # with its loop values
    parts: Sequence[str]  # in their order; one that comes twice twice
    usual: dict[str, float]  # part -> seconds of the last run
    began: float = field(default_factory=time.perf_counter)
    place: int = 0  # in parts
    entered: float = field(default_factory=time.perf_counter)  # that part

    def end_part(self, part: str) -> None:
        """The part behind it begins. One that comes more often than was said changes nothing."""
        if part in self.parts[self.place :]:
            behind = list(self.parts).index(part, self.place) + 1
            self.place, self.entered = min(behind, len(self.parts) - 1), time.perf_counter()

    def seconds_left(self, counted: float | None) -> float | None:
        """To the end of the stage: of this part what is `counted` or was usual, of the later ones what was usual.

        `counted`: seconds left of what is being counted, by its rate. None where that does not suffice.
        """
        usual = {part: self.usual[part] / self.parts.count(part) for part in self.parts if part in self.usual}
        part, later = self.parts[self.place], self.parts[self.place + 1 :]
        if not self.usual and (later or counted is None):
            return None
        by_clock = usual.get(part, 0.0) - (time.perf_counter() - self.entered)
        return max(by_clock, counted or 0.0, 0.0) + sum(usual.get(name, 0.0) for name in later)  # 0: not timed

    def told(self, counted: float | None) -> str:
        """ "grpo 5/8 train [01:10<04:30]", ? for a time left that nobody knows; `counted` as above."""
        gone, left = time.perf_counter() - self.began, self.seconds_left(counted)
        clock = f"[{tqdm.format_interval(gone)}<{'?' if left is None else tqdm.format_interval(left)}]"
        return f"{self.name} {self.place + 1}/{len(self.parts)} {self.parts[self.place]} {clock}"


def usual_seconds(name: str) -> dict[str, float]:
    """What each part of a stage took the last time on this machine, else where we measured; {} if neither is known."""
    for file, key in ((TIMINGS_DIR / f"{name}.json", "parts"), (MEASURED, name)):
        try:
            found = json.loads(file.read_text(encoding="utf-8"))[key]
            return {part: float(seconds) for part, seconds in found.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # for show alone: no reason to stop a stage
            continue
    return {}
