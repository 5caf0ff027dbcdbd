"""Puts each fault of the list into a copy of the project and runs the tests that must notice it there.

Run by hand: python -m tests.mutations [PART OF A FAULT'S NAME ...]; for a change of tests, or of what they hold.
Prints killed, survived or hung for each, and the score. Needs a system with fork.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.mutations.mutation import ROOT, named_tests, read_mutations, source_of

SECONDS = 300  # that tests may take
HEAVY = ("numpy", "scipy.stats", "torch", "transformers", "pytest")  # imported once for all
FAST = "not slow and not gpu and not real_data"


def copy_project(place: Path) -> None:
    """Copies what is tracked or about to be; nothing that a run made."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, place / name)


def run_tests(place: Path, tests: Sequence[str]) -> int | None:
    """Pytest's exit code over tests of the copy, in a process of its own; None: they hang."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setsid()
            code = _in_child(place, tests)
        finally:
            os._exit(code)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, 9)
    os.waitpid(child, 0)
    return None


def _in_child(place: Path, tests: Sequence[str]) -> int:
    import pytest

    assert "stages" not in sys.modules, "it would be the one without the fault"
    os.chdir(place)
    sys.path[:] = [str(place), *(entry for entry in sys.path if Path(entry or ".").resolve() not in (ROOT, place))]
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(place)}
    with (place / "output.txt").open("w") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        arguments = ["-x", "-q", "-m", FAST, "-p", "no:cacheprovider", *tests]
        return int(pytest.main(arguments))


def main(parts: Sequence[str]) -> None:
    """Runs the chosen mutations; ends with 1 where one survives."""
    chosen = [one for one in read_mutations() if not parts or any(part in f"{one.file}: {one.fault}" for part in parts)]
    for name in HEAVY:
        __import__(name)
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        place = Path(folder).resolve()
        copy_project(place)
        whole = {tuple(named_tests(one)) for one in chosen}
        for tests in sorted(whole):
            if (code := run_tests(place, tests)) != 0:
                print((place / "output.txt").read_text()[-3000:])
                sys.exit(f"without any fault, {' '.join(tests)} ends with {code}")
        found: Counter[str] = Counter()
        for one in chosen:
            file, text = source_of(one)
            (place / file).write_text(text, encoding="utf-8")
            code = run_tests(place, named_tests(one))
            shutil.copyfile(ROOT / file, place / file)
            # 2: pytest could not even collect, so nothing was noticed by a test.
            outcome = {0: "SURVIVED", 1: "killed", None: "hung"}.get(code, f"BROKEN ({code})")
            found[outcome] += 1
            print(f"{outcome:<9} {one.file}: {one.fault}", flush=True)
    noticed = found["killed"] + found["hung"]
    print(f"{noticed} of {len(chosen)} noticed; {dict(found)}")
    sys.exit(noticed < len(chosen))


if __name__ == "__main__":
    main(sys.argv[1:])
