"""Loopback unless told otherwise, and then with a password; what a killed run left behind goes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.serving import _auth, _uploads, check_password


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "papers.example"])
def test_beyond_loopback_a_password_is_needed(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PASSWORD", raising=False)
    with pytest.raises(ValueError, match=r"put a password into PASSWORD"):
        check_password(host, "PASSWORD")
    monkeypatch.setenv("PASSWORD", "short")
    with pytest.raises(ValueError, match="under 8 characters"):
        check_password(host, "PASSWORD")
    monkeypatch.setenv("PASSWORD", "long enough")
    assert check_password(host, "PASSWORD") == "long enough"


def test_on_loopback_none_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PASSWORD", raising=False)
    assert check_password("127.0.0.1", "PASSWORD") == ""


def test_only_the_password_lets_in() -> None:
    right = _auth("päss word")
    assert right("anyone", "päss word")
    assert not right("anyone", "pass word") and not right("anyone", "")


def test_uploads_of_runs_that_were_killed_go_and_those_of_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMILL_CACHE", str(tmp_path))
    above = tmp_path / "app" / "uploads"
    killed, running = above / "999999999-x", above / f"{os.getpid()}-x"
    for place in (killed, running):
        place.mkdir(parents=True)
        (place / "secret.pdf").write_bytes(b"x")
    mine = _uploads()
    assert not killed.exists() and running.is_dir()
    assert mine.parent == above and mine.stat().st_mode & 0o077 == 0


def test_without_the_extra_app_the_commands_without_a_page_still_run() -> None:
    hidden = "import sys; sys.modules.update(dict.fromkeys(['gradio', 'starlette', 'fastapi'])); import app.__main__"
    done = subprocess.run([sys.executable, "-c", hidden], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0
