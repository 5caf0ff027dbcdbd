"""One installation: the environment, the plan that has the torch asked for, and what is missing of it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from install.advice import AGAIN, advice
from install.plan import Package, Torch, cuda_packages, installed, missing, requirements
from install.progress import Progress, run_shown
from install.sizes import expected_megabytes, summary
from install.tools import Way, arriving, create_commands, site_packages, tool_commands, whole
from profiles.pins import ALONE, CONSTRAINTS, PROJECT, normalized


class InstallationError(Exception):
    """An installation that cannot go on; the text says what failed and what to do."""


class Installation:
    """What one run needs to know."""

    def __init__(
        self,
        venv: Path,
        extras: list[str],
        torch: Torch,
        work: Path,
        *,
        more: Sequence[str] = (),
        without: Sequence[str] = (),
    ):
        """Reads what is wanted.

        Args:
            venv: the environment.
            extras: of pyproject.toml.
            torch: which build.
            work: an empty folder for the plan, the log and the tool's temporary files.
            more: requirements beside those of pyproject.toml; one that is pinned here takes the place of its pin in
                constraints.txt.
            without: packages that the plan names and that are not brought.

        Raises:
            ValueError: an extra that is none.
        """
        self.venv, self.extras, self.torch, self.work = venv, extras, torch, work
        self.log, self.wanted, self.pins = work / "log.txt", work / "wanted.txt", work / "pins.txt"
        self.alone = work / "alone.txt"
        (work / "tmp").mkdir()
        self.alone.write_text(f"{ALONE}\n", encoding="utf-8")
        self.more, self.without = list(more), {normalized(name) for name in without}
        self.constraints = work / "constraints.txt"
        self.constraints.write_text(without_pins(CONSTRAINTS.read_text(encoding="utf-8"), more), encoding="utf-8")
        wanted = [*requirements(PROJECT, extras), *more]
        self.wanted.write_text("".join(f"{one}\n" for one in wanted), encoding="utf-8")

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
            for command in create_commands(way):
                self._do(f"{way.tool} makes {self.venv}", command)
        for command in tool_commands(way, CONSTRAINTS):
            self._do(f"pip brings {command[-1]} into {self.venv}", command)

    def plan(self, way: Way) -> tuple[list[Package], str]:
        """The packages that a way would bring, and what the tool said; no packages where it failed."""
        found: list[Package] = []
        for wanted, more in ((self.wanted, ()), (self.alone, ("--no-deps",))):
            answer = self.work / "pylock.toml"  # uv wants this name
            answer.unlink(missing_ok=True)  # uv would read the one before
            command = way.plan_command(wanted, self.constraints, answer, *more)
            status, output = self.run(command, Progress(f"{way.told} works out what is needed"))
            if status:
                return [], output
            found += way.read_plan(answer)
        return [package for package in found if package.name not in self.without], output

    def choose(self, ways: list[Way]) -> tuple[Way, list[Package]]:
        """The first way that brings the torch that was asked for, and what it brings.

        Raises:
            InstallationError: none does, or the first cannot plan at all.
        """
        refused: list[str] = []
        for way in ways:
            if refused:
                print(f"install: {refused[-1]}; trying {way.told}", flush=True)
            try:
                self.prepare(way)
            except InstallationError as error:
                if not refused:
                    raise
                refused.append(str(error).partition("\n")[0])
                continue
            packages, output = self.plan(way)
            if packages and bool(cuda_packages(packages)) == (self.torch == "cuda"):
                return way, packages
            if not packages and not refused and not self.more:  # what is wanted beside may want PyTorch's own index
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
        before = len(list(site.glob("*.dist-info/INSTALLER")))
        progress = Progress(
            f"{way.tool} brings {len(lacking)} packages",
            packages=len(lacking),
            megabytes=expected_megabytes(way, packages, lacking, self.extras),
            arrived=arriving(way, self.work / "tmp"),
            there=lambda: max(0, len(list(site.glob("*.dist-info/INSTALLER"))) - before),
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


def without_pins(constraints: str, requirements: Sequence[str]) -> str:
    """Constraints without the lines of packages that the requirements pin themselves (NAME==VERSION)."""
    pinned = {normalized(one.partition("==")[0]) for one in requirements if "==" in one}
    lines = constraints.splitlines(keepends=True)
    return "".join(line for line in lines if normalized(line.partition("==")[0].strip()) not in pinned)


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
