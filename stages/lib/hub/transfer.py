"""One file from a hub to a place of the cache: resumed where it broke off, and put in place when its hash is right.

huggingface_hub begins a file anew in each process, compares sizes alone, and passes over a reset connection; a model's
files are of gigabytes. This is plain HTTP, also for files that the hub keeps in Xet.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stages.lib.hub.errors import HubError

T = TypeVar("T")

BLOCK = 1 << 20  # bytes that are hashed at once
TRIES = 6  # in a row that bring nothing
LONGEST_WAIT = 300.0  # seconds that a server may ask for
AGAIN = (408, 425, 429, 500, 502, 503, 504)  # statuses that pass


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A file that is to come; what another run left of it in `PLACE.part` is gone on with."""

    url: str  # of the file at the hub; it may be redirected
    place: Path  # where it appears, whole
    size: int  # its bytes
    digest: Callable[[Path], tuple[str, str]]  # of a file: the hash that was found, and the one it has to have
    advance: Callable[[int], object]  # called with the bytes that came; negative where they were for nothing
    stop: threading.Event  # ends the transfer at the next block, without the file

    @property
    def part(self) -> Path:
        """What has come."""
        return self.place.with_name(f"{self.place.name}.part")

    def run(self) -> None:
        """Fetches the file.

        Raises:
            HubError: twice another content than the hub promises, or more than it lists.
            httpx.TransportError, HfHubHTTPError: `TRIES` times in a row nothing came, or the hub refuses.
            OSError: the file cannot be written.
        """
        self.part.parent.mkdir(parents=True, exist_ok=True)
        found = expected = ""
        for _ in range(2):
            self._fill()
            if self.stop.is_set():
                return
            found, expected = self.digest(self.part)
            if found == expected:
                self.part.replace(self.place)
                return
            self._drop()
        raise HubError(
            f"{self.url}: came twice with the hash {found}, the hub lists {expected}: not used; run again, or try "
            "another HF_ENDPOINT"
        )

    def _came(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _drop(self) -> None:
        self.advance(-self._came())
        self.part.unlink()

    def _fill(self) -> None:
        """Asks as often as it takes."""
        import httpx
        from huggingface_hub.errors import HfHubHTTPError

        tries = 0
        while (start := self._came()) != self.size or not self.part.exists():
            if start > self.size:  # not what was listed
                self._drop()
                if (tries := tries + 1) >= TRIES:
                    raise HubError(f"{self.url}: more than the {self.size} bytes come that the hub lists: not used")
                continue
            wait = pause(tries)
            try:
                self._go_on(start)
            except httpx.TransportError:
                tries = 0 if self._came() > start else tries + 1
                if tries >= TRIES:
                    raise
            except HfHubHTTPError as error:
                tries += 1
                if error.response.status_code not in AGAIN or tries >= TRIES:
                    raise
                wait = asked_wait(error, wait)
            if self.stop.wait(wait if tries else 0):
                return

    def _go_on(self, start: int) -> None:
        """Asks for what is missing, once, and writes what comes."""
        import httpx
        from huggingface_hub import constants
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        limit = constants.HF_HUB_DOWNLOAD_TIMEOUT  # seconds without a byte
        with get_session().stream("GET", self.url, headers=headers, timeout=limit, follow_redirects=True) as response:
            if response.is_error:
                response.read()
            hf_raise_for_status(response)
            whole = response.status_code != 206  # the server takes no Range
            if whole:
                self.advance(-start)
            came = 0 if whole else start
            with self.part.open("wb" if whole else "ab") as file:
                for block in response.iter_bytes():  # as it comes: what came before a break is kept
                    file.write(block)
                    file.flush()
                    came += len(block)
                    self.advance(len(block))
                    if self.stop.is_set():
                        return
            if came < self.size:
                raise httpx.RemoteProtocolError(f"{came} of {self.size} bytes came")


def pause(tries: int) -> float:
    """Seconds before the next try."""
    return float(min(2.0**tries / 2, 16.0))


def asked_wait(error: BaseException, otherwise: float) -> float:
    """The seconds that a server asks for (Retry-After)."""
    asked = getattr(error, "response").headers.get("Retry-After", "")  # noqa: B009
    return min(float(asked), LONGEST_WAIT) if asked.isdecimal() else otherwise


def patiently(ask: Callable[[], T]) -> T:
    """An answer of the hub; asked again where it says that it is busy.

    Raises:
        HfHubHTTPError: it is busy `TRIES` times, or refuses.
    """
    from huggingface_hub.errors import HfHubHTTPError

    for tries in range(TRIES - 1):
        try:
            return ask()
        except HfHubHTTPError as error:
            if error.response.status_code not in AGAIN:
                raise
            time.sleep(asked_wait(error, pause(tries)))
    return ask()


def sha256(file: Path) -> str:
    """What LFS names a content by."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def git_blob(file: Path) -> str:
    """What git names a content by."""
    digest = hashlib.sha1(f"blob {file.stat().st_size}\0".encode(), usedforsecurity=False)
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
