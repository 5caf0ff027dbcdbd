"""One installation: the environment, the plan that has the torch asked for, and what is missing of it."""

import os
from pathlib import Path
from typing import NoReturn

from install.advice import AGAIN, advice
from install.plan import Package, Torch, cuda_packages, installed, missing
from install.progress import Progress, run_shown
from install.tools import Way, arriving, create_command, site_packages, tool_commands, whole
from profiles.pins import ALONE, CONSTRAINTS, read_pins

# Of the extras of `make install` and the CPU build, on Linux x86-64 and Python 3.11 (docs/install.md).
# pip tells no sizes, and uv none on the disk.
FETCHED_MB, ON_DISK_GB = 640, 2.5


class InstallationError(Exception):
    """An installation that cannot go on; the text says what failed and what to do."""


class Installation:
    """What one run needs to know."""

    def __init__(self, venv: Path, extras: list[str], torch: Torch, work: Path):
        """`work` is an empty folder for the plan, the log and the tool's temporary files."""
        self.venv, self.extras, self.torch, self.work = venv, extras, torch, work
        self.log, self.wanted, self.pins = work / "log.txt", work / "wanted.txt", work / "pins.txt"
        (work / "tmp").mkdir()

    def run(self, command: list[str], progress: Progress) -> tuple[int, str]:
        """Runs one of a tool's commands."""
        return run_shown(command, progress, self.log, {**os.environ, "TMPDIR": str((self.work / "tmp").resolve())})

    def fail(self, doing: str, output: str) -> NoReturn:
        """Ends with the tool's last words and with what to do.

        Raises:
            InstallationError: always.
        """
        last = "\n".join(f"    {line}" for line in output.strip().splitlines()[-8:])
        told = advice(output)
        raise InstallationError(
            f"{doing} failed{f': {told}' if told else ''}\n{last}\nAll it said is in {self.log}. {AGAIN}"
        )

    def prepare(self, way: Way) -> None:
        """The environment, where it does not stand whole, and within it what the tool lacks.

        Raises:
            InstallationError: it cannot be made.
        """
        if not whole(self.venv):
            self._do(f"{way.tool} makes {self.venv}", create_command(way))
        for command in tool_commands(way, CONSTRAINTS):
            self._do(f"pip brings {command[-1]} into {self.venv}", command)

    def plan(self, way: Way) -> tuple[list[Package], str]:
        """The packages that a way would bring, and what the tool said; no packages where it failed."""
        answer = self.work / "pylock.toml"  # uv wants this name
        answer.unlink(missing_ok=True)  # the answer of another way, which uv would read
        progress = Progress(f"{way.told} works out what is needed")
        status, output = self.run(way.plan_command(self.wanted, CONSTRAINTS, answer), progress)
        if status:
            return [], output
        alone = Package(ALONE, read_pins(CONSTRAINTS.read_text(encoding="utf-8"))[ALONE], None)
        return [*way.read_plan(answer), alone], output

    def choose(self, ways: list[Way]) -> tuple[Way, list[Package]]:
        """The first way that brings the torch that was asked for, and what it brings.

        Raises:
            InstallationError: none does, or the first cannot plan at all.
        """
        refused: list[str] = []
        for way in ways:
            if refused:
                print(f"install: {refused[-1]}; trying {way.told}", flush=True)
            self.prepare(way)
            packages, output = self.plan(way)
            if packages and bool(cuda_packages(packages)) == (self.torch == "cuda"):
                return way, packages
            if not packages and not refused:
                self.fail(f"{way.told}: working out what is needed", output)
            refused.append(why_not(way, packages, output))
        raise InstallationError(
            "\n".join([f"no {self.torch.upper()} build of torch is to be had:", *refused, _what_then(self.torch)])
        )

    def bring(self, way: Way, packages: list[Package]) -> None:
        """Installs what is missing of a plan.

        Raises:
            InstallationError: the tool failed, or said that it did not and something is missing all the same.
        """
        site = site_packages(self.venv)
        there = installed(site)
        lacking = missing(packages, there)
        print(f"install: {summary(way, packages, lacking, self.extras)}", flush=True)
        if not lacking:
            return
        for package in lacking:
            if package.name == "torch" and there.get("torch", "").partition("+")[0] == package.version:
                # Without a label the pin is met by the build that is there (PEP 440), so that one has to go.
                self._do("the other build of torch goes", way.uninstall_command("torch"))
                there.pop("torch")
        self.pins.write_text("".join(package.pin + "\n" for package in lacking), encoding="utf-8")
        before = len(list(site.glob("*.dist-info")))
        progress = Progress(
            f"{way.tool} brings {len(lacking)} packages",
            packages=len(lacking),
            megabytes=sum(package.size or 0 for package in lacking) / 1e6,
            arrived=arriving(way, self.work / "tmp"),
            there=lambda: max(0, len(list(site.glob("*.dist-info"))) - before),
        )
        status, output = self.run(way.install_command(self.pins), progress)
        if status:
            self.fail(f"{way.tool}: bringing {len(lacking)} packages", output)
        if left := missing(packages, installed(site)):
            self.fail(f"{way.tool} ended well, but {', '.join(one.pin for one in left)} did not come; it", output)

    def _do(self, doing: str, command: list[str]) -> None:
        print(f"install: {doing}", flush=True)
        status, output = self.run(command, Progress(doing))
        if status:
            self.fail(doing, output)


def why_not(way: Way, packages: list[Package], output: str) -> str:
    """Why a way is not taken, in a line."""
    if not packages:
        return f"{way.told} failed: {advice(output) or output.strip().splitlines()[-1]}"
    torch = next((package.pin for package in packages if package.name == "torch"), "torch")
    if cuda := cuda_packages(packages):
        return f"{way.told} would bring the CUDA build of {torch}, with {len(cuda)} packages for cards"
    return f"{way.told} would bring {torch}, which is no CUDA build"


def _what_then(torch: Torch) -> str:
    if torch == "cuda":
        return "Nothing was changed. `make install TORCH=cpu` takes the CPU build."
    return (
        "Nothing was changed. Let uv reach PyTorch's index of CPU builds; or set up an index or a folder that has one\n"
        "(torch of that version and +cpu): UV_INDEX or UV_FIND_LINKS, PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS.\n"
        "With a card, or if several GB of CUDA libraries do not matter: make install TORCH=cuda"
    )


def summary(way: Way, packages: list[Package], lacking: list[Package], extras: list[str]) -> str:
    """What is done, with which tool, and how much it brings."""
    if not lacking:
        return f"all {len(packages)} packages are there ({', '.join(extras)})"
    cuda = cuda_packages(packages)
    all_of_default = "dev" in extras and len(lacking) == len(packages) and not cuda
    text = f"{way.told} brings {len(lacking)} packages"
    if len(lacking) < len(packages):
        text += f" ({len(packages) - len(lacking)} of {len(packages)} are there)"
    untold = [package.name for package in lacking if package.size is None]
    if way.tool == "uv":
        text += f", {sum(package.size or 0 for package in lacking) / 1e6:.0f} MB to fetch"
        text += f" and {', '.join(untold)}, whose size is not told" if untold else ""
    elif all_of_default:
        text += f", about {FETCHED_MB} MB to fetch (measured once: pip tells no sizes)"
    text += f", less what the cache of {way.tool} has"
    text += f"; {ON_DISK_GB} GB on the disk" if all_of_default else ""
    torch = next((package for package in packages if package.name == "torch"), None)
    return text + (f"; torch {torch.version}, the {'CUDA' if cuda else 'CPU'} build" if torch else "")
