"""Runs a tool quietly and says how far it is: in place on a terminal, a line every 5 seconds in a log."""

import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

EVERY = 5.0  # seconds between two lines of a log
REDRAW = 0.5  # seconds on a terminal
_UNITS = {"B": 1e-6, "kB": 1e-3, "KB": 1e-3, "KiB": 2**10 / 1e6, "MB": 1.0, "MiB": 2**20 / 1e6, "GiB": 2**30 / 1e6}
# uv, several at a time: "Downloading torch (190.2MiB)", " Downloaded torch".
# pip, one after the other: "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (526.6 MB)".
_BEGINS = re.compile(r"^\s*(Downloading|Using cached) (\S+?)(-\d\S*)? \(([\d.]+) ?([kKMG]?i?B)\)$")
_ENDS = re.compile(r"^\s*Downloaded (\S+)$")


@dataclass
class Progress:
    """How far a tool is, by its lines and by what grows on the disk."""

    doing: str  # such as "uv brings 198 packages"
    packages: int = 0  # to bring; 0: not known yet
    megabytes: float = 0  # to fetch; 0: not known
    arrived: Callable[[], float] = lambda: 0.0  # MB of what has not ended
    there: Callable[[], int] = lambda: 0  # packages that stand in the environment
    under_way: dict[str, float] = field(default_factory=dict)  # MB by name
    fetched: float = 0.0  # MB of what has ended
    seen: int = 0  # requirements that a resolver has looked at
    loaded: bool = False  # all is fetched, and is being installed
    order: list[str] = field(default_factory=list)  # in which the packages will stand, where it is known

    def hear(self, line: str) -> None:
        """Takes in one line of the tool."""
        if found := _BEGINS.match(line):
            if found[3]:  # a file's name, so it is pip's line, and ends the file before
                self.fetched += sum(self.under_way.values())
                self.under_way = {}
            self.under_way[found[2]] = float(found[4]) * _UNITS[found[5]]
        elif found := _ENDS.match(line):
            self.fetched += self.under_way.pop(found[1], 0.0)
        elif line.startswith(("Collecting ", "Processing ")):
            self.seen += 1
        elif line.startswith(("Installing collected packages: ", "Prepared ")):
            self.loaded = True
            self.order = line.partition(": ")[2].split(", ")  # pip's: it installs in this order

    def told(self, seconds: float) -> str:
        """One line."""
        parts = []
        if self.packages:
            stand = self.there()
            parts.append(f"{stand} of {self.packages} packages stand")
            if self.loaded and stand >= self.packages:
                parts.append("now their byte code")
            elif stand < len(self.order):
                parts.append(f"now {self.order[stand]}")
        elif self.seen:
            parts.append(f"{self.seen} looked at")
        if self.packages and not self.loaded and (self.megabytes or self.under_way):
            got = self.fetched + min(self.arrived(), sum(self.under_way.values()))
            parts.append(f"{got:.0f} MB" + (f" of {self.megabytes:.0f} MB fetched" if self.megabytes else " fetched"))
            if got > 0.05 * self.megabytes > 0:
                parts.append(f"about {clock(seconds * max(0.0, self.megabytes / got - 1))} to go")
        if self.packages and self.under_way and not self.loaded:
            name = max(self.under_way, key=lambda one: self.under_way[one])
            parts.append(f"now {name} ({self.under_way[name]:.0f} MB)")
        return f"install: {self.doing}, {clock(seconds)}" + "".join(f"; {part}" for part in parts)


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def run_shown(
    command: list[str], progress: Progress, log: Path, environment: Mapping[str, str], out: TextIO | None = None
) -> tuple[int, str]:
    """Runs a command with its output in a log, and tells how far it is.

    An interruption is passed to the command's process, and then raised.

    Returns:
        The exit status, and what the command said.
    """
    out = out or sys.stdout
    terminal = out.isatty()
    lines: queue.Queue[str | None] = queue.Queue()
    said: list[str] = []
    started = told = time.monotonic()
    with log.open("a", encoding="utf-8") as kept:
        print("$", *command, file=kept, flush=True)
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", env=environment,
        ) as process:  # fmt: skip

            def listen() -> None:
                assert process.stdout is not None
                for line in process.stdout:
                    lines.put(line)
                lines.put(None)

            threading.Thread(target=listen, daemon=True).start()
            try:
                while True:
                    try:
                        line = lines.get(timeout=REDRAW)
                    except queue.Empty:
                        line = ""
                    if line is None:
                        break
                    if line:
                        kept.write(line)
                        said.append(line)
                        progress.hear(line.rstrip())
                    now = time.monotonic()
                    if now - told >= (REDRAW if terminal else EVERY):
                        told = now
                        text = progress.told(now - started)
                        print(
                            f"\r{text[:119]}\x1b[K" if terminal else text,
                            end="" if terminal else "\n",
                            file=out,
                            flush=True,
                        )
            except BaseException:
                process.terminate()
                raise
            finally:
                if terminal:
                    print("\r\x1b[K", end="", file=out, flush=True)
    return process.returncode, "".join(said)
