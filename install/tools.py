"""The commands of uv and of pip, side by side: each makes an environment, plans, and installs."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from install.plan import Package, read_lock, read_report

Tool = Literal["uv", "pip"]
# Older ones download every wheel before they know which they take (and Debian's are older).
PIP = "pip>=24.2"
UNPACKED = 3.0  # bytes on the disk of one of a wheel, about


@dataclass(frozen=True)
class Way:
    """One way of installing into an environment."""

    tool: Tool
    venv: Path
    uv: str = ""  # the program
    cpu_index: bool = False  # torch from PyTorch's own index of CPU builds, whose address uv knows
    within: bool = False  # uv is the environment's own, which pip brings first

    @property
    def python(self) -> Path:
        """The interpreter of the environment."""
        return self.venv / "bin/python"

    @property
    def told(self) -> str:
        """The tool in words."""
        own = f" of {self.venv}" if self.within else ""
        return f"{self.tool}{own}" + (" with PyTorch's index of CPU builds" if self.cpu_index else "")

    def plan_command(self, wanted: Path, constraints: Path, answer: Path, *more: str) -> list[str]:
        """Resolves a file of requirements for the environment's Python, and writes the answer; installs nothing."""
        match self.tool:
            case "uv":
                command = [self.uv, "pip", "compile", "--no-header", "--color", "never", "--python", str(self.python)]
                command += ["--format", "pylock.toml", "--output-file", str(answer), *self._backend()]
                return [*command, *more, "--constraints", str(constraints), str(wanted)]
            case "pip":
                command = [str(self.python), "-m", "pip", "install", "--dry-run", "--ignore-installed"]
                command += ["--use-feature", "fast-deps", "--report", str(answer)]
                return [*command, *more, "-c", str(constraints), "-r", str(wanted)]
        assert_never(self.tool)

    def read_plan(self, answer: Path) -> list[Package]:
        """The packages of an answer to `plan_command`."""
        text = answer.read_text(encoding="utf-8")
        match self.tool:
            case "uv":
                return read_lock(text)
            case "pip":
                return read_report(text)
        assert_never(self.tool)

    def install_command(self, pins: Path) -> list[str]:
        """Installs a file of pins, and nothing that they depend on: the plan has it all."""
        match self.tool:
            case "uv":
                command = [self.uv, "pip", "install", "--color", "never", "--python", str(self.python)]
                # As pip does: else each process of the graph would compile what it imports, 12 s of a core, and again
                # and again where PYTHONDONTWRITEBYTECODE is set.
                return [*command, "--compile-bytecode", *self._backend(), "--no-deps", "-r", str(pins)]
            case "pip":
                command = [str(self.python), "-m", "pip", "install", "--progress-bar", "off"]
                return [*command, "--no-deps", "-r", str(pins)]
        assert_never(self.tool)

    def uninstall_command(self, name: str) -> list[str]:
        """Removes one package."""
        match self.tool:
            case "uv":
                return [self.uv, "pip", "uninstall", "--python", str(self.python), name]
            case "pip":
                return [str(self.python), "-m", "pip", "uninstall", "--yes", name]
        assert_never(self.tool)

    def _backend(self) -> list[str]:
        return ["--torch-backend", "cpu"] if self.cpu_index else []


def uv_of_the_user(venv: Path) -> str:
    """The uv on PATH; "" where there is none that starts. The one within the environment does not count.

    That one came with the extra dev: a pip that is set up for a mirror would give way to a uv that is not.
    """
    places = os.environ.get("PATH", "").split(os.pathsep)
    others = [place for place in places if place and Path(place).resolve() != (venv / "bin").resolve()]
    for place in others:
        found = shutil.which("uv", path=place)
        if found and not subprocess.run([found, "--version"], capture_output=True, check=False).returncode:
            return found  # a shim of pyenv can lie on PATH and start nothing
    return ""


def ways(venv: Path, uv: str, cuda: bool, only_uv: bool = False) -> list[Way]:
    """The ways to try, the best first, each as it is set up on this machine; `uv` is the program, or ""."""
    within = Way("uv", venv, str(venv / "bin/uv"), cpu_index=True, within=True)
    if cuda:
        return [Way("uv", venv, uv)] if uv else [Way("pip", venv)]
    if uv:
        by_uv = [Way("uv", venv, uv), Way("uv", venv, uv, cpu_index=True)]
        return by_uv if only_uv else [*by_uv, Way("pip", venv)]
    return [Way("pip", venv), within]


def whole(venv: Path) -> bool:
    """Whether an environment stands: its Python starts, has pip and is of the version of this one."""
    if not (venv / "bin/python").exists():
        return False
    code = "import sys, pip; print(*sys.version_info[:2])"
    asked = subprocess.run([venv / "bin/python", "-c", code], capture_output=True, text=True, check=False)
    return asked.returncode == 0 and asked.stdout.split() == [str(part) for part in sys.version_info[:2]]


def create_commands(way: Way) -> list[list[str]]:
    """Makes the environment anew. It has pip in both ways: `.venv/bin/pip` is what people type."""
    # `python3` of a second `make install` is the environment's own, which is about to be cleared.
    python: str = getattr(sys, "_base_executable", sys.executable)
    if way.tool == "uv" and not way.within:
        create = [way.uv, "venv", "--clear", "--color", "never", "--python", python, str(way.venv)]
        return [create, [way.uv, "pip", "install", "--color", "never", "--python", str(way.python), "pip"]]
    return [[python, "-m", "venv", "--clear", str(way.venv)]]


def tool_commands(way: Way, constraints: Path) -> list[list[str]]:
    """Makes the tool itself fit, within the environment: a pip that plans without fetching, or the pinned uv."""
    pip = [str(way.python), "-m", "pip", "install"]
    if way.within:
        return [[*pip, "-c", str(constraints), "uv"]]
    return [[*pip, PIP]] if way.tool == "pip" else []


def site_packages(venv: Path) -> Path:
    """Where the packages of an environment lie."""
    return venv / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def arriving(way: Way, work: Path) -> Callable[[], float]:
    """How to see the MB that have come and are not told yet.

    pip loads into temporary files, which are in `work`. uv unpacks while it loads, into its cache; a byte of a wheel
    is about three on the disk.
    """
    if way.tool == "pip":
        return lambda: _megabytes([work])
    asked = subprocess.run([way.uv, "cache", "dir"], capture_output=True, text=True, check=False)
    cache = Path(asked.stdout.strip())
    return lambda: _megabytes(cache.glob(".tmp*")) / UNPACKED


def _megabytes(roots: Iterable[Path]) -> float:
    total = 0
    for root in roots:
        for folder, _, names in os.walk(root):
            for name in names:
                with contextlib.suppress(OSError):  # it has been moved to its place meanwhile
                    total += (Path(folder) / name).lstat().st_size
    return total / 1e6
