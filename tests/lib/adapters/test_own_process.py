"""Work in a process of its own: questions, failures, and that neither process outlives the other."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.lib.adapters.own_process import in_own_process

ROOT = Path(__file__).parents[3]


def writes(place: Path, text: str) -> None:
    place.write_text(f"{text} {os.getpid()}")


def asks(ask: Callable[[Any], Any], place: Path) -> None:
    place.write_text(str([ask(("twice", number)) for number in range(3)]))


def test_it_is_another_process(tmp_path: Path) -> None:
    in_own_process(writes, tmp_path / "out", "said")
    word, number = (tmp_path / "out").read_text().split()
    assert word == "said" and int(number) != os.getpid()


def test_it_is_answered_by_the_one_that_started_it(tmp_path: Path) -> None:
    here = os.getpid()

    def answer(question: Any) -> Any:
        assert os.getpid() == here and question[0] == "twice"
        return question[1] * 2

    in_own_process(asks, tmp_path / "out", answer=answer)
    assert (tmp_path / "out").read_text() == "[0, 2, 4]"


def fails(kind: str) -> None:
    if kind == "ValueError":
        raise ValueError("lr: lower it")
    if kind == "KeyError":
        raise KeyError("gone")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("ValueError", ValueError, "^lr: lower it$"),
        ("KeyError", RuntimeError, "fails: KeyError: 'gone'"),
        ("killed", RuntimeError, r"the process of fails was killed \(exit code -9\); out of memory\?"),
    ],
)
def test_what_fails_there_is_told_here(kind: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        in_own_process(fails, kind)


def test_an_answer_that_fails_ends_it(tmp_path: Path) -> None:
    def answer(question: Any) -> Any:
        raise ValueError("reward 'length' is nan")

    with pytest.raises(ValueError, match="reward 'length' is nan"):
        in_own_process(asks, tmp_path / "out", answer=answer)
    assert not (tmp_path / "out").exists()


def waits(place: Path) -> None:
    place.write_text(str(os.getpid()))
    time.sleep(600)


def test_it_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from stages.lib.adapters.own_process import in_own_process\n"
        "from tests.lib.adapters.test_own_process import waits\n"
        "if __name__ == '__main__': in_own_process(waits, Path(sys.argv[1]))\n"
    )
    (tmp_path / "start.py").write_text(script)
    started = subprocess.Popen(
        [sys.executable, tmp_path / "start.py", tmp_path / "out"], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    limit = time.monotonic() + 60
    while time.monotonic() < limit and not ((tmp_path / "out").exists() and (tmp_path / "out").read_text()):
        time.sleep(0.05)
    child = int((tmp_path / "out").read_text())
    started.send_signal(signal.SIGKILL)
    started.wait()
    while time.monotonic() < limit and Path(f"/proc/{child}/stat").exists():
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break  # ended; nobody has taken note of it yet
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{child}").exists(), "it still runs"
