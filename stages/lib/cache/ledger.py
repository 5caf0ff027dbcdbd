"""The ledger: what was paid for is written down before it is used (`.cache/<room>/ledger.sqlite`).

A key is a hash of everything that decides the answer; a value is bytes. Answers are
committed batch by batch, each batch in one transaction, so that a killed run resumes
at the first unanswered batch with the batches it would have had anyway.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path


class Ledger:
    """A key -> bytes store in SQLite that survives kill -9 and serves several processes and threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()  # one connection, used by one thread at a time
        self._database = sqlite3.connect(path, timeout=120, isolation_level=None, check_same_thread=False)
        # WAL with NORMAL survives the death of the process; a power cut may lose the last batch, never more.
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The stored values of those of the keys that are known."""
        found: dict[str, bytes] = {}
        for part, marks in _parts(keys):
            with self._lock:
                found.update(self._database.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", part))
        return found

    def known(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that have a value."""
        found: set[str] = set()
        for part, marks in _parts(keys):
            with self._lock:
                rows = self._database.execute(f"SELECT key FROM answers WHERE key IN ({marks})", part)
                found.update(key for (key,) in rows)
        return found

    def put(self, answers: Iterable[tuple[str, bytes]]) -> None:
        """Stores answers in one transaction."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", answers)
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def drop(self, keys: Sequence[str]) -> None:
        """Takes answers out."""
        with self._lock:
            self._database.executemany("DELETE FROM answers WHERE key = ?", [(key,) for key in keys])

    def close(self) -> None:
        """Closes the database."""
        self._database.close()


def _parts(keys: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """The keys in queries of as many as any SQLite takes variables, with their question marks."""
    for start in range(0, len(keys), 500):
        part = list(keys[start : start + 500])
        yield part, ",".join("?" * len(part))
