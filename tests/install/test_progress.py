"""How far a tool is, by lines of real runs of uv 0.13 and pip 26."""

import io
import os
import sys
from pathlib import Path

import pytest

from install import progress
from install.progress import Progress, run_shown

UV = """Using Python 3.11.7 environment at: .venv
Downloading mypy (14.7MiB)
Downloading pyarrow (52.5MiB)
 Downloaded mypy
"""
PIP = """Collecting Jinja2==3.1.6 (from -r pins.txt (line 1))
  Downloading jinja2-3.1.6-py3-none-any.whl (134 kB)
Processing /wheels/torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl
Collecting pyarrow==26.0.1
  Downloading pyarrow-26.0.1-cp311-cp311-manylinux_2_28_x86_64.whl (55.0 MB)
"""


def heard(text: str, told: Progress) -> Progress:
    for line in text.splitlines():
        told.hear(line)
    return told


def test_uv_loads_several_at_a_time() -> None:
    told = heard(UV, Progress("uv brings 9 packages", packages=9, megabytes=100, arrived=lambda: 30.0))
    assert told.told(10) == (
        "install: uv brings 9 packages, 0:10; 0 of 9 packages stand; 45 MB of 100 MB fetched; about 0:12 to go; "
        "now pyarrow (55 MB)"
    )
    told.arrived = lambda: 500.0  # more than is under way can't have come
    assert "; 70 MB of 100 MB fetched" in told.told(10)
    told.hear("Prepared 9 packages in 1.09s")
    told.there = lambda: 4
    assert told.told(12) == "install: uv brings 9 packages, 0:12; 4 of 9 packages stand"


def test_pip_loads_one_after_the_other() -> None:
    told = heard(PIP, Progress("pip brings 3 packages", packages=3, arrived=lambda: 20.1))
    assert told.told(70) == (
        "install: pip brings 3 packages, 1:10; 0 of 3 packages stand; 20 MB fetched; now pyarrow (55 MB)"
    )
    told.hear("Installing collected packages: pyarrow, torch, jinja2")
    assert told.told(70) == "install: pip brings 3 packages, 1:10; 0 of 3 packages stand; now pyarrow"


def test_a_plan_counts_what_it_looked_at() -> None:
    assert heard(PIP, Progress("pip works out")).told(2) == "install: pip works out, 0:02; 3 looked at"


def shown(code: str, place: Path, out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(progress, "REDRAW", 0.05)
    return run_shown([sys.executable, "-c", code], Progress("it runs"), place / "log.txt", os.environ, out)


def test_a_log_gets_lines_and_all_that_was_said_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    code = (
        "import sys, time; print('Collecting x', flush=True); time.sleep(0.3); print('odd', file=sys.stderr); exit(3)"
    )
    assert shown(code, tmp_path, out, monkeypatch) == (3, "Collecting x\nodd\n")
    lines = out.getvalue().splitlines()
    assert len(lines) > 1
    assert all(line.startswith("install: it runs, 0:0") for line in lines)
    assert lines[-1].endswith("; 1 looked at")
    assert (tmp_path / "log.txt").read_text().endswith("Collecting x\nodd\n")


def test_a_terminal_has_one_line_that_is_cleared_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    shown("import time; time.sleep(0.3)", tmp_path, out, monkeypatch)
    assert "\n" not in out.getvalue()
    assert out.getvalue().startswith("\rinstall: it runs")
    assert out.getvalue().endswith("\r\x1b[K")
