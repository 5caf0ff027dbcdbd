"""A directory of the cache is one process's at a time."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.lib.cache.turns import take_turn

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys, time
from stages.lib.cache.place import cache_dir
from stages.lib.cache.turns import take_turn
take_turn(cache_dir() / "pretrain" / sys.argv[1])
print("mine", flush=True)
time.sleep(100)
"""


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list["subprocess.Popen[str]"]]:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path))
    found: list[subprocess.Popen[str]] = []
    yield found
    for process in found:
        process.kill()
        process.communicate()


def holder(started: list["subprocess.Popen[str]"], name: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", HOLDER, name], cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
    started.append(process)
    return process


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_the_second_waits_until_the_first_is_killed(started: list["subprocess.Popen[str]"]) -> None:
    first = holder(started, "a")
    assert first_line(first) == "mine\n"
    second = holder(started, "a")
    other = holder(started, "b")
    assert first_line(other) == "mine\n"  # another training waits for nobody
    time.sleep(1)
    first.kill()
    killed = time.monotonic()
    assert first_line(second) == "mine\n" and time.monotonic() - killed < 10
    second.kill()
    assert second.stderr is not None
    assert "pretrain: another run makes the same in" in second.stderr.read()
    assert other.stderr is not None
    other.kill()
    assert other.stderr.read() == ""
    assert first.wait() == -9


def test_a_process_may_take_its_turn_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path))
    for _ in range(2):
        take_turn(tmp_path / "pretrain" / "c")
    assert [file.name for file in (tmp_path / "turns").iterdir()] == ["pretrain-c.lock"]
