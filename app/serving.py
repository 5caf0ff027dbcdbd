"""Opens the page: on loopback, or elsewhere with a password; uploads in a directory that goes when it ends."""

import hmac
import importlib.util
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.models import choices, open_choice
from app.open_models import OpenModels
from app.settings import home, open_searching
from stages.lib.answering.chat_settings import ChatSettings
from stages.lib.chat.events import Stream

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PASSWORD_ENV = "LLMILL_CHAT_PASSWORD"
UPLOADS = "uploads"
MOST_WAITING = 64  # events that wait; more are turned away
Opening = Callable[[str, ChatSettings], Stream | None]
LEAST_CHARS = 8  # of a password


def check_password(host: str, password_env: str) -> str:
    """The password of the page; "" on loopback without one.

    Raises:
        ValueError: the page would be open to others without a password, or with a short one.
    """
    password = os.environ.get(password_env, "")
    if host not in LOOPBACK and not password:
        raise ValueError(f"--host {host}: others can reach the page there; put a password into {password_env} first")
    if password and len(password) < LEAST_CHARS:
        raise ValueError(f"{password_env}: the password has under {LEAST_CHARS} characters")
    return password


def serve(host: str, port: int, password_env: str, opening: Opening = open_choice) -> None:
    """Serves the page until it is interrupted.

    Args:
        host: a name or address of this machine; beyond loopback there has to be a password.
        port: to listen on.
        password_env: the environment variable that holds the password.
        opening: loads a model by its name.

    Raises:
        ValueError: no password, no gradio, a bad section of params.yaml, or weights that are absent.
        OSError: the port is taken.
    """
    password = check_password(host, password_env)
    if importlib.util.find_spec("gradio") is None:
        raise ValueError("the page needs gradio: `make chat` installs the extra `app`")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    uploads = _uploads()
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    import gradio as gr  # of the extra `app`; reads its settings from the environment
    from starlette.middleware import Middleware

    from app.door import Door
    from app.layout import STYLE
    from app.page import Page

    try:
        with open_searching() as searching:
            settings = searching.settings
            models = OpenModels(choices(), lambda name: opening(name, settings))
            blocks = Page(searching, models, home() / "libraries", uploads).blocks
            hosts = frozenset(LOOPBACK) if host in LOOPBACK else None
            blocks.queue(max_size=MOST_WAITING).launch(
                server_name=host,
                server_port=port,
                share=False,
                auth=_auth(password) if password else None,
                app_kwargs={"middleware": [Middleware(Door, uploads=uploads, hosts=hosts)]},
                max_file_size=settings.max_file_mb * 1_000_000,
                show_error=False,
                ssr_mode=False,
                enable_monitoring=False,
                mcp_server=False,
                pwa=False,
                run_history=False,
                footer_links=[],
                theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                css=STYLE,
                prevent_thread_lock=True,
                quiet=True,
            )
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # also then nothing stays behind
            try:
                searching.encoders.tokens.encode(["warm"], "query")  # loaded now rather than with the first question
                models.load_ahead()
                print(f"the page: {blocks.local_url} (Ctrl-C ends it)", flush=True)
                blocks.block_thread()
            finally:
                blocks.close()
                models.close()
    finally:
        shutil.rmtree(uploads, ignore_errors=True)


def _uploads() -> Path:
    """A new directory for uploads that only this user can read; those of runs that were killed are removed."""
    above = home() / UPLOADS
    above.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in above.iterdir():
        if not _alive(left.name.partition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=above)).resolve()


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _auth(password: str) -> Any:
    """Any user name, this password."""
    salt = secrets.token_bytes(16)
    right = hmac.digest(salt, password.encode(), "sha256")
    return lambda user, given: hmac.compare_digest(hmac.digest(salt, given.encode(), "sha256"), right)
