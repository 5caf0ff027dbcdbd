"""What goes wrong between us and a hub, in one line that names the params key and says what to do."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_WRITING = (errno.EROFS, errno.EACCES, errno.EPERM)
MOVE = "HF_HOME=/a/larger/disk/huggingface moves it"


class HubError(ValueError):
    """A download that cannot be; where nothing catches it, the process ends with its line and no traceback."""


@contextmanager
def explained(key: str, kind: str, name: str, revision: str) -> Iterator[None]:
    """Turns what huggingface_hub, datasets and the system raise inside of it into a `HubError`.

    Args:
        key: where params.yaml names the repository, such as `models.zephyr-7b`.
        kind: model or dataset.
        name: ORG/NAME.
        revision: the commit.

    Raises:
        HubError: for whatever is about the hub, the network or the disk; all else passes.
    """
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        if (told := explanation(error, key, kind, name, revision)) is None:
            raise
        raise HubError(told) from error


def explanation(error: BaseException, key: str, kind: str, name: str, revision: str) -> str | None:
    """The line for an error or for what caused it; None where it is about something else."""
    seen: BaseException | None = error
    while seen is not None:
        if (told := _explanation(seen, key, kind, name, revision)) is not None:
            return told
        seen = seen.__cause__ or seen.__context__
    return None


def _explanation(error: BaseException, key: str, kind: str, name: str, revision: str) -> str | None:
    import httpx
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}"
    what = f"data set {name!r}" if kind == "dataset" else f"hub:{name}"
    word = "data set" if kind == "dataset" else kind
    field = "name" if kind == "dataset" else "source"
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else 0
    match error:
        case errors.RevisionNotFoundError():
            pin = f"python -m stages.lib.commands.pin {'--dataset ' if kind == 'dataset' else ''}{name}"
            return f"{key}.revision: {revision!r} is no commit of {page} (`{pin}` prints the newest)"
        case errors.GatedRepoError() if status == 401:
            return f"{key}: {page} is gated: accept its terms there, then set HF_TOKEN to a token of that account"
        case errors.GatedRepoError():
            return (
                f"{key}: {page} is gated, and the account of HF_TOKEN has no access to it: accept its terms there "
                "(some are granted by a person, later), and let the token read gated repositories"
            )
        case errors.DisabledRepoError():
            return f"{key}.{field}: {page} has been disabled by the hub"
        case errors.RepositoryNotFoundError():
            return (
                f"{key}.{field}: no {word} {name!r} at {constants.ENDPOINT}, or a private one: correct the name, or "
                "set HF_TOKEN to a token that may read it"
            )
        case errors.OfflineModeIsEnabled():
            return (
                f"{key}: {what} at {revision} is not (whole) in {constants.HF_HUB_CACHE}, and cannot be fetched while "
                "HF_HUB_OFFLINE is set: run once without it, or point HF_HOME to a cache that has it"
            )
        case errors.HfHubHTTPError() if status == 401:
            return f"{key}: {constants.ENDPOINT} does not take HF_TOKEN (401): set a valid one, or none"
        case errors.HfHubHTTPError() if status == 403:
            return (
                f"{key}: {constants.ENDPOINT} forbids {name!r} (403): the token of HF_TOKEN lacks the right to read it"
            )
        case errors.HfHubHTTPError() if status == 429:
            return (
                f"{key}: {constants.ENDPOINT} asks to wait (429, too many requests): run again later, or set HF_TOKEN"
            )
        case errors.RemoteEntryNotFoundError():
            return f"{key}: {page} at {revision} lacks a file: {_line(error)}"
        case errors.HfHubHTTPError():
            return (
                f"{key}: {constants.ENDPOINT} answers {status} for {name!r}: run again later; what was fetched is kept"
            )
        case httpx.TransportError():
            return (
                f"{key}: {what} at {revision} is not (whole) in {constants.HF_HUB_CACHE}, and cannot be fetched: "
                f"{constants.ENDPOINT} cannot be reached ({type(error).__name__}: {_line(error)}): run again with a "
                "network (what was fetched is kept), or set HF_ENDPOINT to a mirror, or HF_HOME to a cache that has it"
            )
        case OSError() if error.errno in NO_ROOM:
            return f"{key}: {name!r}: no room in {constants.HF_HUB_CACHE} ({error.strerror}): make room, or {MOVE}"
        case OSError() if error.errno in NO_WRITING:
            return f"{key}: {name!r}: {error.filename or constants.HF_HUB_CACHE}: {error.strerror}; {MOVE}"
        case errors.HFValidationError():
            return f"{key}.{field}: {name!r} is no name of a repository: {_line(error)}"
    return None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


_before = sys.excepthook


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, HubError):
        print(error, file=sys.stderr)
    else:
        _before(kind, error, trace)


sys.excepthook = _one_line
