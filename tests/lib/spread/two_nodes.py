"""A real Ray cluster of two nodes on this machine, with a token: `ray start` twice, each node with one core."""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray.scripts import scripts  # noqa: F401  # `ray` is a program of this environment

from tests.graph import ROOT

STORE = str(200_000_000)  # bytes of a node's object store
UP = 120.0  # seconds within which a node is there


class TwoNodes:
    """The cluster: where it is, and its nodes, which can be killed and brought back."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.port = _free_port()
        self.token = secrets.token_hex(16)
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_ADDRESS": f"127.0.0.1:{self.port}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(ROOT),
        }
        self.nodes: list[subprocess.Popen[bytes]] = []

    def start_head(self) -> None:
        """The first node."""
        self._start(f"--port={self.port}", f"--temp-dir={self.place}", "--head", "--include-dashboard=false")

    def start_worker(self) -> None:
        """Another node."""
        self._start(f"--address=127.0.0.1:{self.port}")

    def kill_worker(self) -> None:
        """kill -9 of the last node and of all that runs on it."""
        os.killpg(self.nodes.pop().pid, signal.SIGKILL)

    def stop(self) -> None:
        """Ends both."""
        while self.nodes:
            self.kill_worker()

    def _start(self, *options: str) -> None:
        log = self.place / f"node{len(self.nodes)}-{time.time_ns()}.log"
        usual = ["--block", "--node-ip-address=127.0.0.1", "--num-cpus=1", f"--object-store-memory={STORE}"]
        with log.open("wb") as file:
            environment = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
            command = ["ray", "start", *usual, *options]
            self.nodes.append(
                subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
            )
        end = time.monotonic() + UP
        while b"Ray runtime started" not in log.read_bytes():
            if time.monotonic() > end or self.nodes[-1].poll() is not None:
                raise RuntimeError(f"the node is not up: {log.read_text()}")
            time.sleep(0.2)


@contextmanager
def two_nodes(place: Path) -> Iterator[TwoNodes]:
    """The cluster, up; `place` must be short, since it holds sockets."""
    cluster = TwoNodes(place)
    try:
        cluster.start_head()
        cluster.start_worker()
        yield cluster
    finally:
        cluster.stop()


def _free_port() -> int:
    """A port below those that Ray's workers take (10002 to 19999) and above the usual ones."""
    for port in range(26379, 27000):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)):
                return port
    raise RuntimeError("no free port")
