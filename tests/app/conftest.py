"""A page that really runs, in a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STARTS_IN = 120  # seconds at most, on a machine that others use


class RunningPage:
    """The page of tests/app/stub_page.py over a cache of its own."""

    def __init__(self, place: Path, password: str = "") -> None:
        self.cache, self.asked, self._log = place / "cache", place / "asked.jsonl", place / "log.txt"
        self._environment = os.environ | {"LLMILL_CACHE": str(self.cache), "PYTHONUNBUFFERED": "1"}
        self._environment.pop("LLMILL_CHAT_PASSWORD", None)
        if password:
            self._environment["LLMILL_CHAT_PASSWORD"] = password
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.app.stub_page", str(self.port), str(self.asked)]
        self._log.write_text("")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        end = time.monotonic() + STARTS_IN
        while "the page:" not in self.log():
            assert self._process.poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.1)

    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        self._process.terminate()  # SIGINT is ignored by what a script starts in the background
        self._process.wait(30)

    @property
    def uploads(self) -> list[Path]:
        """Uploaded files that are still there."""
        return [path for path in (self.cache / "app" / "uploads").rglob("*") if path.is_file()]


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPage]:
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    running = RunningPage(tmp_path_factory.mktemp("page"))
    yield running
    running.stop()
