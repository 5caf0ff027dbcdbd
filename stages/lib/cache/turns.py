"""Runs that make the same take turns: two experiments may train with the same params at once.

Each directory of the cache that is worked in for minutes (checkpoints, shards) is one run's at a time. Who waits finds
it finished and publishes what is there.
"""

from pathlib import Path

from filelock import FileLock, Timeout

from stages.lib.cache.place import cache_dir
from stages.lib.core.progress import say

_HELD: dict[Path, FileLock] = {}  # to the end of the process; the system takes the lock of one that was killed


def take_turn(directory: Path) -> None:
    """Waits until no other process works in a directory of the cache, and keeps it until this process ends.

    Of several processes of one training the main one takes the turn, and the others wait for it.
    """
    file = cache_dir() / "turns" / f"{directory.parent.name}-{directory.name}.lock"
    if file in _HELD:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"{directory.parent.name}: another run makes the same in {directory}; this one waits for it")
        lock.acquire()
    _HELD[file] = lock
