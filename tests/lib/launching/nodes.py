"""Two nodes on one machine: an agent of torchrun each, with processes of its own, where root may in network namespaces.

A namespace has its own loopback and one end of a cable: nothing goes from one node to the other but what a network
would carry. Files are shared, as a cluster's storage is.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
QUICK = "last_call_timeout=1,keep_alive_interval=1,keep_alive_max_attempt=3"  # seconds; to notice a death soon


@dataclass(frozen=True)
class Node:
    """A place for an agent."""

    address: str
    enter: tuple[str, ...] = ()  # the command that runs another one within
    interface: str = "lo"


@dataclass(frozen=True)
class Nodes:
    """Two nodes; the first one has the rendezvous."""

    both: tuple[Node, Node]
    port: int

    def agent(
        self, number: int, nodes: str, program: list[str], place: Path, environment: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        """Starts a node's agent, which starts the program.

        Args:
            number: of the node.
            nodes: how many take part: 2, or 1:2 for one or two.
            program: what follows torchrun's options.
            place: the working directory; the agent's log is NODE.log there.
            environment: besides this process's.
        """
        node, host = self.both[number], self.both[0]
        command = [
            *(*node.enter, sys.executable, "-m", "torch.distributed.run", f"--nnodes={nodes}", "--nproc-per-node=1"),
            *("--max-restarts=3", "--rdzv-backend=c10d", f"--rdzv-endpoint={host.address}:{self.port}"),
            *("--rdzv-id=test", f"--rdzv-conf=is_host={int(number == 0)},{QUICK}", f"--local-addr={node.address}"),
            *program,
        ]
        told = {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "GLOO_SOCKET_IFNAME": node.interface,
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # or nobody can join again: docs/clusters.md
        }
        with (place / f"{number}.log").open("a") as log:
            environ = os.environ | told | dict(environment or {})
            return subprocess.Popen(command, cwd=place, env=environ, stdout=log, stderr=log, text=True)


def free_port() -> int:
    """One that nobody has now."""
    import socket

    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def on_loopback() -> Nodes:
    """Both nodes on this machine's own loopback."""
    return Nodes((Node("127.0.0.1"), Node("127.0.0.1")), free_port())


def may_make_namespaces() -> bool:
    """Whether this process can: it is root's, and `ip` (Debian: iproute2) is there."""
    ip = shutil.which("ip")
    if ip is None or os.geteuid():
        return False
    name = f"llmill{os.getpid()}"
    made = subprocess.run([ip, "netns", "add", name], capture_output=True, check=False).returncode == 0
    return made and subprocess.run([ip, "netns", "del", name], capture_output=True, check=False).returncode == 0


@contextmanager
def in_namespaces() -> Iterator[Nodes]:
    """Each node in a network namespace of its own, with a cable between them."""
    names = [f"llmill{os.getpid()}{letter}" for letter in "ab"]
    addresses = ["10.231.7.1", "10.231.7.2"]

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        for name, address in zip(names, addresses, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
            ip("-n", name, "link", "set", "lo", "up")
        first, second = (
            Node(address, ("ip", "netns", "exec", name), "cable")
            for name, address in zip(names, addresses, strict=True)
        )
        yield Nodes((first, second), 29500)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
