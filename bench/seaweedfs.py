"""A real S3 server on loopback, with credentials: SeaweedFS's `weed`, which the extra s3-server brings.

For the tests of tests/remote, the demo (bench/remote_demo.py) and the measurement (bench/remote.py). Everything it
writes is in the folder it is given; it ends with the `with` block, and with this process if that is killed.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import httpx

# The kernel kills it when this process ends, however that ends (Linux).
END_WITH_US = """\
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
os.execv(sys.argv[1], sys.argv[1:])
"""
GRPC = 10_000  # weed talks to itself on each port plus this one
SECONDS_TO_START = 60
KEEP_CLEAR_OF = ("AWS_", "BOTO_", "S3_")  # variables of the user that would lead a client elsewhere


def weed() -> str | None:
    """The program: beside this Python or on PATH; None where the extra s3-server is not installed."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.is_file() else shutil.which("weed")


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, and whose gRPC neighbours are free too."""
    found: list[int] = []
    while len(found) < count:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port + GRPC < 65_536 and port not in found and _is_free(port + GRPC):
            found.append(port)
        elif port + GRPC >= 65_536 and _is_free(port - GRPC) and port - GRPC not in found:
            found.append(port - GRPC)
    return found


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class SeaweedFS:
    """The server, as a context; it may be killed and started again on what it has stored."""

    def __init__(self, place: Path) -> None:
        """`place` is a folder of its own, which stays.

        Raises:
            FileNotFoundError: `weed` is not installed.
        """
        program = weed()
        if program is None:
            raise FileNotFoundError("weed is not installed: make install-s3")
        self.place = place
        self.key, self.secret = "llmill", secrets.token_hex(16)
        master, volume, filer, self.port = self._ports = free_ports(4)
        identity = {
            "name": "llmill",
            "credentials": [{"accessKey": self.key, "secretKey": self.secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        place.mkdir(parents=True, exist_ok=True)
        (place / "s3.json").write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        (place / "data").mkdir(exist_ok=True)
        self._command = [
            program,
            "-logtostderr=true",
            "server",
            f"-dir={place / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
        ]
        self._command += [f"-master.port={master}", f"-volume.port={volume}", "-master.telemetry=false"]
        self._command += ["-master.electionTimeout=1s"]  # of one: the default's 10 s is waited for at each new start
        self._command += ["-filer", f"-filer.port={filer}", "-filer.localSocket=filer.sock"]
        self._command += ["-s3", f"-s3.port={self.port}", f"-s3.config={place / 's3.json'}", "-s3.localSocket=s3.sock"]
        self._command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # else on fixed ports: two servers would not start
        self._command += ["-volume.max=20", "-master.volumeSizeLimitMB=256"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What a remote's `endpointurl` has to be."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it was started and not killed."""
        return self._process is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Starts it, and waits until it answers.

        Raises:
            RuntimeError: it ended, or does not answer in a minute; with its last words.
        """
        with (self.place / "log.txt").open("ab") as log:
            command = [sys.executable, "-c", END_WITH_US, *self._command]
            self._process = subprocess.Popen(command, cwd=self.place, stdout=log, stderr=log, start_new_session=True)
        for _ in range(10 * SECONDS_TO_START):  # no clock: a machine that slept may go on
            if self._process.poll() is not None:
                break
            if self._answers():
                return
            time.sleep(0.1)
        self.kill()
        last = (self.place / "log.txt").read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"weed did not start:\n{last}")

    def _answers(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if httpx.get(f"{self.url}/healthz", timeout=2, trust_env=False).status_code != 200:
                return False
            # The gateway is up before what is behind it: the list of objects, and where their bytes are.
            self.client().list_buckets()
            topology = httpx.get(f"http://127.0.0.1:{self._ports[0]}/dir/status", timeout=2, trust_env=False).json()
            return bool(topology["Topology"].get("DataCenters"))
        except (httpx.HTTPError, BotoCoreError, ClientError):
            return False

    def kill(self) -> None:
        """`kill -9`, which is also how it ends: asked to end it takes ten seconds."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        for port in self._ports:  # the one thing that it puts elsewhere
            for socket_file in Path("/tmp").glob(f"seaweedfs-*-grpc-{port + GRPC}.sock"):
                socket_file.unlink(missing_ok=True)

    def environment(self, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """An environment in which the credentials are this server's, and no others are found."""
        clean = {name: value for name, value in environ.items() if not name.startswith(KEEP_CLEAR_OF)}
        nowhere = str(self.place / "no_file")
        return clean | {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_CONFIG_FILE": nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": nowhere,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def client(self) -> Any:
        """botocore's client, to look into the buckets without DVC."""
        from botocore.config import Config
        from botocore.session import Session

        config = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 2}, proxies={})
        return Session().create_client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=config,
        )
