import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.lib.cache.ledger import Ledger
from stages.lib.core.hashes import ledger_key

ROOT = Path(__file__).parents[3]
WRITER = """
import sys, time
from pathlib import Path
from stages.lib.cache.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for batch in range(1000):
    ledger.put([(f"{batch}-{i}", b"x" * 1000) for i in range(4)])
    print(batch, flush=True)
"""


def test_keys_depend_on_every_part() -> None:
    assert ledger_key("a", 1, {"x": 1, "y": 2}) == ledger_key("a", 1, {"y": 2, "x": 1})
    assert len({ledger_key("a", 1), ledger_key("a", 2), ledger_key("a", "1"), ledger_key("a1")}) == 4


def test_stores_and_finds(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "deep" / "ledger.sqlite")
    ledger.put([(str(i), bytes([i])) for i in range(256)] * 3)
    keys = [str(i) for i in range(1200)]
    assert ledger.get(keys) == {str(i): bytes([i]) for i in range(256)}


def test_tells_which_keys_it_knows(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.sqlite")
    ledger.put([(str(i), b"x" * i) for i in range(0, 2000, 2)])
    assert ledger.known([str(i) for i in range(1200)]) == {str(i) for i in range(0, 1200, 2)}
    assert ledger.known([]) == set()
    ledger.close()


def test_a_failed_batch_leaves_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def answers() -> Iterator[tuple[str, bytes]]:
        yield "a", b"1"
        raise RuntimeError("the model died")

    with pytest.raises(RuntimeError, match="the model died"):
        ledger.put(answers())
    assert ledger.get(["a"]) == {}
    ledger.put([("a", b"2")])
    assert ledger.get(["a"]) == {"a": b"2"}


def test_kill_9_keeps_every_committed_batch_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 20:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stdout.close()
    process.wait()
    found = Ledger(path).get([f"{batch}-{i}" for batch in range(1000) for i in range(4)])
    assert len(found) % 4 == 0
    assert {f"{batch}-{i}" for batch in range(21) for i in range(4)} <= set(found)
