"""One real Ray cluster of two nodes for the session."""

import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.lib.spread.two_nodes import TwoNodes, two_nodes


def require_ray() -> None:
    """Skips where the extra is not installed; fails where LLMILL_RAY=required (in CI)."""
    if find_spec("ray"):
        return
    reason = "ray is not installed: make install-ray"
    if os.environ.get("LLMILL_RAY") == "required":
        raise RuntimeError(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster() -> Iterator[TwoNodes]:
    require_ray()
    with (
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as place,
        two_nodes(Path(place)) as started,
    ):
        yield started
