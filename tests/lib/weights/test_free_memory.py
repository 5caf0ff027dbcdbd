"""What counts as free: the machine's memory, a container's limit, and pages of files that were read."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from stages.lib.weights import free_memory
from stages.lib.weights.free_memory import available_host_bytes


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 1,000 bytes available, and a folder for what its container says."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(free_memory, "CGROUP", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("limit", "used", "stat", "free"),
    [
        (None, None, None, 1000),
        ("max", "900", None, 1000),
        ("600", "450", None, 150),
        ("600", "590", "anon 90\nfile 500\ninactive_file 300\nactive_file 150\nshmem 50\n", 460),
        ("9000", "590", "inactive_file 300\n", 1000),
    ],
)
def test_a_container_has_its_limit_less_what_it_cannot_give_back(
    container: Path, limit: str | None, used: str | None, stat: str | None, free: int
) -> None:
    for name, text in (("memory.max", limit), ("memory.current", used), ("memory.stat", stat)):
        if text is not None:
            (container / name).write_text(text)
    assert available_host_bytes() == free
