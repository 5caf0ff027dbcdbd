"""A ledger that is used by the threads of a page."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from stages.lib.cache.ledger import Ledger


def test_threads_share_a_ledger(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger, ThreadPoolExecutor(5) as pool:

        def write(thread: int) -> int:
            for i in range(30):
                ledger.put([(f"{thread}:{i}", b"a"), (f"{thread}:{i}:b", b"b")])
                assert ledger.get([f"{thread}:{i}"]) == {f"{thread}:{i}": b"a"}
            return thread

        assert list(pool.map(write, range(5))) == list(range(5))
        assert len(ledger.get([f"{thread}:{i}" for thread in range(5) for i in range(30)])) == 150
